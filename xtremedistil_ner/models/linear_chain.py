"""Tags of a row as a linear chain: path scores, their log-sum over all paths, and posterior marginals, batched.

A path's score is the sum of a score for every word's tag (emission) and one for every pair of neighbouring tags
(transition). Illegal pairs have a large negative transition instead of minus infinity, whose gradients would be NaN.
Forward and backward recursions step through the words of all rows at once: exponentials, a product with those of the
transitions, logarithms. That is in float64, whose exponentials span 1,400 nats, so that no tag's share is lost; in
float32 without exponentials it took two to six times as long (256 rows of 11 words, 7 tags, one busy core).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xtremedistil_ner.labels import LabelScheme

ILLEGAL = -1e4
"""Score of an illegal transition: its exponential is an exact zero."""
_TINY = 1e-300
"""Keeps the logarithm of a sum without any legal path finite."""


@dataclass(frozen=True, slots=True)
class WordRows:
    """How a flat sequence of words is cut into rows.

    Shapes: counts (rows,) int64, words of each row, one at least; opens (rows,) bool, whether a row opens its sentence.
    The first word of any other row follows a tag that is not known here, so no transition into it counts.
    """

    counts: NDArray[np.int64]
    opens: NDArray[np.bool_]


def legal_transitions(scheme: LabelScheme) -> Tensor:
    """Legality as scores. Shapes: (tags + 1, tags) [previous, next] float32, row 0 for the start; 0 or `ILLEGAL`."""
    legal = np.concatenate([scheme.may_start[None], scheme.may_follow])
    return torch.from_numpy(np.where(legal, 0.0, ILLEGAL).astype(np.float32))


def log_marginals(emissions: Tensor, transitions: Tensor, rows: WordRows) -> Tensor:
    """Log-probability of every tag of every word, given all emissions of its row.

    Shapes: emissions (words, tags); transitions (tags + 1, tags); result (words, tags) float32.
    """
    padded, mask, start = _pad(emissions, transitions, rows)
    weights = transitions[1:].double().exp()
    sums = _forward(padded, start, weights) + _backward(padded, mask, weights)
    return torch.log_softmax(sums[mask], dim=-1).float()


def negative_log_likelihood(emissions: Tensor, tags: Tensor, transitions: Tensor, rows: WordRows) -> Tensor:
    """Minus the log-probability of the rows' tags as whole paths, summed over rows.

    Shapes: emissions (words, tags); tags (words,) int64; transitions (tags + 1, tags); result () float32.
    Units: nats, summed.
    """
    padded, mask, start = _pad(emissions, transitions, rows)
    forward = _forward(padded, start, transitions[1:].double().exp())
    last = mask.sum(dim=1) - 1
    all_paths = forward[torch.arange(len(last), device=last.device), last].logsumexp(dim=-1).sum()
    is_first = torch.zeros(len(tags), dtype=torch.bool, device=tags.device)
    first = torch.from_numpy(np.cumsum(rows.counts) - rows.counts).to(tags.device)
    is_first[first] = True
    previous, following = tags[:-1][~is_first[1:]], tags[1:][~is_first[1:]]
    path = padded[mask].gather(1, tags[:, None]).sum() + transitions[1 + previous, following].double().sum()
    return (all_paths - path - start.gather(1, tags[first, None]).sum()).float()


def _pad(emissions: Tensor, transitions: Tensor, rows: WordRows) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions by row, which places are words, and each row's start scores.

    The best tag of a word gets the emission 0: neither probabilities nor gradients change, and sums stay small.
    Shapes: (rows, words, tags) float64; (rows, words) bool; (rows, tags) float64.
    """
    counts, opens = (_to(array, emissions.device) for array in (rows.counts, rows.opens))
    mask = torch.arange(int(rows.counts.max(initial=0)), device=emissions.device) < counts[:, None]
    values = emissions.double()
    padded = values.new_zeros(*mask.shape, values.shape[-1])
    padded[mask] = values - values.detach().amax(dim=-1, keepdim=True)
    return padded, mask, transitions[0].double() * opens[:, None]


def _forward(emissions: Tensor, start: Tensor, weights: Tensor) -> Tensor:
    """Log-sum of all paths to every tag. Shapes: start (rows, tags); weights (tags, tags); result as emissions."""
    sums = [start + emissions[:, 0]]
    for word in range(1, emissions.shape[1]):
        sums.append(_log_product(sums[-1], weights) + emissions[:, word])
    return torch.stack(sums, dim=1)


def _backward(emissions: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Log-sum of all paths from every tag to its row's end. Shapes: weights (tags, tags); result as emissions."""
    sums = [torch.zeros_like(emissions[:, 0])]
    for word in range(emissions.shape[1] - 1, 0, -1):
        onward = _log_product(emissions[:, word] + sums[-1], weights.T)
        sums.append(torch.where(mask[:, word, None], onward, 0.0))
    return torch.stack(sums[::-1], dim=1)


def _log_product(logs: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of exp(logs) times weights. Shapes: logs, result (rows, tags); weights (tags, tags)."""
    largest = logs.detach().amax(dim=-1, keepdim=True)
    return ((logs - largest).exp() @ weights + _TINY).log() + largest


def _to(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
