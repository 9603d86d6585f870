"""Distillation losses, each summed over real words in float32; the training loop divides by the words of the step."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def label_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy on tags, gold ones or a teacher's argmax.

    Shapes: logits (words, tags); tags (words,) int64; result ().
    Units: nats, summed.
    """
    return functional.cross_entropy(logits.float(), tags, reduction="sum")


def logit_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Squared error between the logits of student and teacher, averaged over tags.

    Shapes: logits, teacher_logits (words, tags); result ().
    Units: squared logits, summed over words.
    Source: XtremeDistil (Mukherjee & Awadallah 2020), up to the constant factor.
    """
    return functional.mse_loss(logits.float(), teacher_logits.float(), reduction="none").mean(dim=-1).sum()


def representation_loss(states: Tensor, teacher_states: Tensor) -> Tensor:
    """Squared error between the student's projected states and a teacher layer's, averaged over the width.

    Shapes: states, teacher_states (words, representation_width); result ().
    Source: XtremeDistil, with the squared error in place of the KL divergence, which is not
    defined for states that are not distributions.
    """
    return functional.mse_loss(states.float(), teacher_states.float(), reduction="none").mean(dim=-1).sum()


def masked_piece_loss(logits: Tensor, pieces: Tensor) -> Tensor:
    """Cross-entropy on masked pieces.

    Shapes: logits (masked, vocabulary); pieces (masked,) int64; result ().
    Units: nats, summed.
    Source: Devlin et al. 2019 (BERT).
    """
    return functional.cross_entropy(logits.float(), pieces, reduction="sum")
