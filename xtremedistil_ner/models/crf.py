"""The optional CRF head of a student: transition scores between tags, which stay legal whatever it learns.

Gold labels and the posterior loss train it; other losses on logits compare emissions. At inference it is no part of
the network: a student's logits are its emissions, and the decoder adds the transition scores.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xtremedistil_ner.labels import LabelScheme, TagIds
from xtremedistil_ner.models.linear_chain import WordRows, legal_transitions, negative_log_likelihood


class Crf(nn.Module):
    """Start and transition scores. They begin as zeros, so that a CRF does not change a new student's tags."""

    legality: Tensor

    def __init__(self, scheme: LabelScheme) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(len(scheme.tags) + 1, len(scheme.tags)))
        self.register_buffer("legality", legal_transitions(scheme), persistent=False)

    def forward(self) -> Tensor:
        """Learnt scores and legality. Shapes: (tags + 1, tags) [previous, next], row 0 for the start."""
        return self.scores + self.legality

    def loss(self, emissions: Tensor, tags: Tensor, rows: WordRows) -> Tensor:
        """Minus the log-likelihood of the rows' tags, summed over rows.

        Shapes: emissions (words, tags); tags (words,) int64, legal in each row; result ().
        """
        return negative_log_likelihood(emissions, tags, self(), rows)

    def transitions(self) -> NDArray[np.float32]:
        """What decoding adds. Shapes: (tags + 1, tags) float32, row 0 for the start."""
        scores: NDArray[np.float32] = self().detach().cpu().numpy()
        return scores


def tags_that_decoding_can_give(tags: TagIds, has_piece: NDArray[np.bool_], opens: NDArray[np.bool_]) -> TagIds:
    """Gold tags in which a word without a piece is `O`, as in decoding, and the rest of its entity is a new one.

    Shapes: all (words,); opens marks the first word of every sentence.
    """
    result = np.where(has_piece, tags, 0).astype(tags.dtype)
    is_inside = (result > 0) & (result % 2 == 0)
    previous = np.where(opens, 0, np.roll(result, 1))
    continues = (previous == result) | (previous == result - 1)
    return np.where(is_inside & ~continues, result - 1, result).astype(tags.dtype)
