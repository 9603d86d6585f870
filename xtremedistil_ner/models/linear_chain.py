"""Tags of a row as a linear chain: path scores, their log-sum over all paths, and posterior marginals, batched.

A path's score is the sum of a score for every word's tag (emission) and one for every pair of neighbouring tags
(transition). Illegal pairs have a large negative transition instead of minus infinity, whose gradients would be NaN.
Recursions step through the words of all rows at once, in float64, whose exponentials span 1,400 nats.

The likelihood steps in logarithms. Marginals step in exponentials: both directions of all chains are one batched
product a word, and their gradient, written by hand, is one more. Forward and backward, the posterior loss of 512 rows
of up to 32 words is 345 operators; one by one, with torch's own gradients, it was 2,314 (`docs/log.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.processes.world import put_on

ILLEGAL = -1e4
"""Score of an illegal transition: its exponential is an exact zero."""
_TINY = 1e-300
"""Keeps the logarithm of a sum without any legal path finite."""
_LOWEST = -300.0
"""Emissions that are further below the best tag of their word count as this much below for all other words. Any legal
tag's share of a direction is then above exp(2 * _LOWEST), unless transitions differ by more than 100 as well."""


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


def log_marginals(rows: WordRows, *chains: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Log-probability of every tag of every word, given all emissions of its row, for several chains over the rows.

    A chain is its emissions and its transitions. Chains that need no gradient cost none.

    Shapes: emissions (words, tags); transitions (tags + 1, tags); result (words, tags) float32, one for each chain.
    """
    parts = [part for chain in chains for part in chain]
    apply: Callable[..., tuple[Tensor, ...]] = _LogMarginals.apply
    return apply(_Slots.of(rows, parts[0].device), *parts)


def negative_log_likelihood(emissions: Tensor, tags: Tensor, transitions: Tensor, rows: WordRows) -> Tensor:
    """Minus the log-probability of the rows' tags as whole paths, summed over rows.

    Shapes: emissions (words, tags); tags (words,) int64; transitions (tags + 1, tags); result () float32.
    Units: nats, summed.
    """
    device, n_tags = emissions.device, emissions.shape[-1]
    first_words, n_columns = np.cumsum(rows.counts) - rows.counts, int(rows.counts.max())
    place = np.arange(len(tags)) - np.repeat(first_words, rows.counts)
    row_starts = np.arange(len(rows.counts)) * n_columns
    words = put_on(device, np.repeat(row_starts, rows.counts) + place)
    values = emissions.double()
    # the best tag of a word gets the emission 0: no probability or gradient changes, and sums stay small
    values = values - values.detach().amax(dim=-1, keepdim=True)
    padded = values.new_zeros(len(rows.counts) * n_columns, n_tags).index_copy(0, words, values)
    start = transitions[0].double() * put_on(device, rows.opens)[:, None]
    forward = _forward(padded.view(-1, n_columns, n_tags), start, transitions[1:].double().exp())
    last = put_on(device, row_starts + rows.counts - 1)
    all_paths = forward.flatten(0, 1).index_select(0, last).logsumexp(dim=-1).sum()
    later = np.flatnonzero(place)  # words that are not the first of their row
    previous, following = (tags.index_select(0, put_on(device, part)) for part in (later - 1, later))
    path = padded.index_select(0, words).gather(1, tags[:, None]).sum()
    path = path + transitions[1 + previous, following].double().sum()
    first_tags = tags.index_select(0, put_on(device, first_words))
    return (all_paths - path - start.gather(1, first_tags[:, None]).sum()).float()


def _forward(emissions: Tensor, start: Tensor, weights: Tensor) -> Tensor:
    """Log-sum of all paths to every tag.

    Shapes: emissions, result (rows, words, tags); start (rows, tags); weights (tags, tags).
    """
    first, *later = emissions.unbind(1)
    sums = [start + first]
    for emission in later:
        sums.append(_log_product(sums[-1], weights) + emission)
    return torch.stack(sums, dim=1)


def _log_product(logs: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of exp(logs) times weights. Shapes: logs, result (rows, tags); weights (tags, tags)."""
    largest = logs.detach().amax(dim=-1, keepdim=True)
    return ((logs - largest).exp() @ weights + _TINY).log() + largest


@dataclass(frozen=True, slots=True)
class _Slots:
    """Where the words of rows lie in both directions, each of which begins with its own first word.

    Rows of 1 and 3 words have 3 steps of 2 directions of 2 rows, 12 slots. The words of a step, forward | backward:
    0 1 | 0 3, then - 2 | - 2, then - 3 | - 1. Empty slots (-) come after a row's end, so that they change nothing.

    Shapes: words (slots,) int64, the word of each slot, or their number in empty slots; forward, backward (words,)
    int64, each word's slots; opens (rows, 1) float64, 1 for rows that open their sentence.
    """

    words: Tensor
    forward: Tensor
    backward: Tensor
    opens: Tensor

    @classmethod
    def of(cls, rows: WordRows, device: torch.device) -> _Slots:
        n_rows, n_words = len(rows.counts), int(rows.counts.sum())
        row = np.repeat(np.arange(n_rows), rows.counts)
        step = np.arange(n_words) - (np.cumsum(rows.counts) - rows.counts)[row]
        forward = 2 * step * n_rows + row
        backward = (2 * (rows.counts[row] - 1 - step) + 1) * n_rows + row
        words = np.full(2 * int(rows.counts.max()) * n_rows, n_words)
        words[forward] = words[backward] = np.arange(n_words)
        opens = rows.opens[:, None].astype(np.float64)
        return cls(*(put_on(device, array) for array in (words, forward, backward, opens)))


class _LogMarginals(torch.autograd.Function):
    """Forward and backward recursion of all chains at once, in exponentials whose sum over tags is 1 after each word.

    A direction's shares a of a word's tags are (a' W) x / c: a' are the shares of the word before, W the exponentials
    of the transitions, transposed for the backward direction, x those of the emissions, and c makes their sum 1. A
    marginal is the product of both directions, over x, which both have. c scales all tags alike, so it has no part in
    the gradient. If g is the gradient of log a at a word itself, that of a is d = g / a + (d' x' / c') Wᵀ, where ' is
    now the word after; that of the emission is a d.
    """

    @staticmethod
    def forward(ctx: Any, slots: _Slots, *parts: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's own type lacks what it has
        emissions, transitions = (torch.stack(parts[kind::2]).double() for kind in (0, 1))
        n_chains, n_tags, n_rows = len(emissions), emissions.shape[-1], len(slots.opens)
        emissions -= emissions.amax(dim=-1, keepdim=True)
        bounded = emissions.clamp(min=_LOWEST)
        of_slots = functional.pad(bounded.exp(), (0, 0, 0, 1)).index_select(1, slots.words)
        steps = of_slots.view(n_chains, -1, 2, n_rows, n_tags).transpose(0, 1).flatten(1, 2)
        weights = transitions[:, 1:].exp()
        weights = torch.stack([weights, weights.transpose(1, 2)], dim=1).flatten(0, 1)
        share = steps[0].clone()
        share[::2] *= (transitions[:, :1] * slots.opens).exp()
        shares, sums = [share], [share.sum(dim=-1, keepdim=True)]
        for step in steps.unbind(0)[1:]:
            share = torch.bmm(shares[-1].div_(sums[-1]), weights).mul_(step)
            shares.append(share)
            sums.append(share.sum(dim=-1, keepdim=True).add_(_TINY))
        shares[-1].div_(sums[-1])
        all_shares, scaled_steps = torch.stack(shares), steps.div_(torch.stack(sums))
        logs = (all_shares + _TINY).log().unflatten(1, (n_chains, 2)).transpose(0, 1).flatten(1, 3)
        logs = logs.index_select(1, slots.forward) + logs.index_select(1, slots.backward)
        logs = torch.log_softmax(logs + emissions - 2 * bounded, dim=-1)
        ctx.slots = slots
        ctx.save_for_backward(all_shares, scaled_steps, weights, logs)
        return logs.float().unbind(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - as above
        slots: _Slots = ctx.slots
        result: list[Tensor | None] = [None]
        for chain, gradient in enumerate(gradients):
            needs_emissions, needs_transitions = ctx.needs_input_grad[2 * chain + 1 : 2 * chain + 3]
            if not (needs_emissions or needs_transitions):
                result += [None, None]
                continue
            both = slice(2 * chain, 2 * chain + 2)
            shares, steps, weights = (tensor[..., both, :, :] for tensor in ctx.saved_tensors[:3])
            own = gradient.double()
            own = own - ctx.saved_tensors[3][chain].exp() * own.sum(dim=-1, keepdim=True)
            of_slots = functional.pad(own, (0, 0, 0, 1)).index_select(0, slots.words).view(shares.shape)
            *earlier, last = (of_slots / (shares + _TINY)).unbind(0)
            onward, of_shares = [], [last]
            for step, at_word in zip(reversed(steps.unbind(0)[1:]), reversed(earlier), strict=True):
                onward.append(of_shares[-1] * step)
                of_shares.append(torch.baddbmm(at_word, onward[-1], weights.transpose(1, 2)))
            of_logs = torch.stack(of_shares[::-1]) * shares
            of_words = of_logs.flatten(0, 2)
            of_words = of_words.index_select(0, slots.forward) + of_words.index_select(0, slots.backward) - own
            result.append(of_words.float())
            changes = (of_logs, shares, onward[::-1], weights, slots)
            result.append(_transition_gradient(*changes) if needs_transitions else None)
        return tuple(result)


def _transition_gradient(
    of_logs: Tensor, shares: Tensor, onward: list[Tensor], weights: Tensor, slots: _Slots
) -> Tensor:
    """Shapes: of_logs, shares (steps, 2, rows, tags); onward (2, rows, tags) for all steps but the first."""
    start = (of_logs[0, 0] * slots.opens).sum(dim=0, keepdim=True)
    pairs = torch.zeros_like(weights)
    if onward:
        before, after = (part.transpose(0, 1).flatten(1, 2) for part in (shares[:-1], torch.stack(onward)))
        pairs = torch.bmm(before.transpose(1, 2), after) * weights
    return torch.cat([start, pairs[0] + pairs[1].T]).float()
