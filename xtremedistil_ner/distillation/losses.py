"""Distillation losses, each summed over real words in float32; the training loop divides by the words of the step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xtremedistil_ner.models.linear_chain import WordRows, log_marginals


def label_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy on tags, gold ones or a teacher's argmax.

    Shapes: logits (words, tags); tags (words,) int64; result ().
    Units: nats, summed.
    """
    return functional.cross_entropy(logits.float(), tags, reduction="sum")


def squared_error(values: Tensor, targets: Tensor) -> Tensor:
    """Squared error between two rows of numbers, logits or states, averaged over columns.

    Shapes: values, targets (words, columns); result ().
    Units: squared values, summed over words.
    Source: XtremeDistil (Mukherjee & Awadallah 2020) for logits, up to the constant factor.
    """
    return functional.mse_loss(values.float(), targets.float(), reduction="none").mean(dim=-1).sum()


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of the student's softened probabilities against the teacher's.

    Shapes: logits, teacher_logits (words, tags); result ().
    Units: nats times temperature², summed; the factor keeps gradients comparable across temperatures.
    Source: Hinton et al. 2015.
    """
    student = torch.log_softmax(logits.float() / temperature, dim=-1)
    teacher = torch.softmax(teacher_logits.float() / temperature, dim=-1)
    return -(teacher * student).sum() * temperature**2


def posterior_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    rows: WordRows,
    *,
    transitions: Tensor,
    teacher_transitions: Tensor,
    temperature: float,
) -> Tensor:
    """Cross-entropy of the student's posterior marginals under a linear chain against the teacher's.

    Logits over the temperature are the chain's emissions. With transitions of zeros it is `soft_cross_entropy`.

    Shapes: logits, teacher_logits (words, tags); transitions, teacher_transitions (tags + 1, tags), row 0 for the
    start; result ().
    Units: nats times temperature², summed.
    Source: Wang et al. 2020 (structure-level distillation, posterior); the factor is ours.
    """
    chain = (logits.float() / temperature, transitions)
    teachers_chain = (teacher_logits.detach().float() / temperature, teacher_transitions.detach())
    student, teacher = log_marginals(rows, chain, teachers_chain)
    return -(teacher.detach().exp() * student).sum() * temperature**2


def cosine_distance(states: Tensor, teacher_states: Tensor) -> Tensor:
    """One minus the cosine of the angle between the states of student and teacher.

    Shapes: states, teacher_states (words, representation_width); result ().
    """
    return (1 - functional.cosine_similarity(states.float(), teacher_states.float(), dim=-1)).sum()


def state_divergence(states: Tensor, teacher_states: Tensor) -> Tensor:
    """KL divergence from the teacher's states to the student's, each made a distribution by a softmax over the width.

    The papers apply the KL divergence to GELU(W h + b) and the teacher's states. These are no distributions, so it is
    undefined as published; the two softmaxes, and the teacher as the reference, are ours.

    Shapes: states, teacher_states (words, representation_width); result ().
    Units: nats, summed.
    """
    student = torch.log_softmax(states.float(), dim=-1)
    teacher = torch.log_softmax(teacher_states.float(), dim=-1)
    return functional.kl_div(student, teacher, reduction="sum", log_target=True)


def masked_piece_loss(logits: Tensor, pieces: Tensor) -> Tensor:
    """Cross-entropy on masked pieces.

    Shapes: logits (masked, vocabulary); pieces (masked,) int64; result ().
    Units: nats, summed.
    Source: Devlin et al. 2019 (BERT).
    """
    return functional.cross_entropy(logits.float(), pieces, reduction="sum")
