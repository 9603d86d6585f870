"""Chains against brute force: every path of every row is written down, scored in float64, and counted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from xtremedistil_ner.distillation.losses import posterior_loss, soft_cross_entropy
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.linear_chain import (
    WordRows,
    legal_transitions,
    negative_log_likelihood,
)
from xtremedistil_ner.models.linear_chain import log_marginals as log_marginals_of_chains

SCHEME = LabelScheme(("X", "Y"))
N_TAGS = 5
COUNTS = [3, 1, 4, 2]
ROWS = WordRows(np.array(COUNTS), np.array([True, True, False, True]))
"""The third row is a window from the middle of a sentence."""
LEGAL_TAGS = torch.tensor([1, 2, 0, 3, 4, 4, 1, 2, 0, 3])
"""A legal path in each row; the third begins with I-Y, which goes on from a word that is not there."""


def random_chain(*, seed=0, learnt=True):
    """Emissions of all words, and legal transitions with learnt scores on top, or without."""
    generator = torch.Generator().manual_seed(seed)
    emissions = 2 * torch.randn(sum(COUNTS), N_TAGS, generator=generator)
    scores = torch.randn(N_TAGS + 1, N_TAGS, generator=generator) if learnt else 0.0
    return emissions, legal_transitions(SCHEME) + scores


def log_marginals(emissions, transitions, rows):
    return log_marginals_of_chains(rows, (emissions, transitions))[0]


def rows_of(values):
    return np.split(values, np.cumsum(COUNTS)[:-1])


def path_weights(emissions, transitions, opens):
    """Every path of one row and exp of its score."""
    paths = list(itertools.product(range(N_TAGS), repeat=len(emissions)))
    weights = []
    for path in paths:
        score = float(transitions[0, path[0]]) if opens else 0.0
        score += sum(emissions[word, tag] for word, tag in enumerate(path))
        score += sum(transitions[1 + previous, following] for previous, following in itertools.pairwise(path))
        weights.append(math.exp(score))
    return np.array(paths), np.array(weights)


def enumerated(emissions, transitions):
    """Path weights of all rows, in float64."""
    numbers = transitions.detach().double().numpy()
    parts = rows_of(emissions.detach().double().numpy())
    return [path_weights(part, numbers, opens) for part, opens in zip(parts, ROWS.opens, strict=True)]


def enumerated_marginals(emissions, transitions):
    result = []
    for paths, weights in enumerated(emissions, transitions):
        for word in range(paths.shape[1]):
            result.append([weights[paths[:, word] == tag].sum() / weights.sum() for tag in range(N_TAGS)])
    return np.array(result)


@pytest.mark.parametrize("learnt", [True, False])
def test_marginals_are_the_share_of_all_paths_through_a_tag(learnt):
    emissions, transitions = random_chain(learnt=learnt)
    found = log_marginals(emissions, transitions, ROWS).exp().numpy()
    np.testing.assert_allclose(found, enumerated_marginals(emissions, transitions), rtol=1e-4, atol=1e-7)


def test_the_likelihood_is_that_of_the_path_among_all_paths():
    emissions, transitions = random_chain()
    expected = 0.0
    for tags, (paths, weights) in zip(rows_of(LEGAL_TAGS.numpy()), enumerated(emissions, transitions), strict=True):
        chosen = (paths == tags).all(axis=1)
        expected -= math.log(weights[chosen].sum() / weights.sum())
    found = negative_log_likelihood(emissions, LEGAL_TAGS, transitions, ROWS)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_the_likelihood_is_expected_minus_observed_counts():
    emissions, transitions = random_chain()
    emissions.requires_grad_()
    transitions.requires_grad_()
    negative_log_likelihood(emissions, LEGAL_TAGS, transitions, ROWS).backward()
    observed = np.eye(N_TAGS)[LEGAL_TAGS]
    np.testing.assert_allclose(
        emissions.grad.numpy(), enumerated_marginals(emissions, transitions) - observed, rtol=1e-4, atol=1e-6
    )
    pairs = np.zeros((N_TAGS + 1, N_TAGS))
    chains = zip(rows_of(LEGAL_TAGS.numpy()), enumerated(emissions, transitions), ROWS.opens, strict=True)
    for tags, (paths, weights), opens in chains:
        for path, weight in [*zip(paths, weights / weights.sum(), strict=True), (tags, -1.0)]:
            if opens:
                pairs[0, path[0]] += weight
            np.add.at(pairs, (1 + path[:-1], path[1:]), weight)
    np.testing.assert_allclose(transitions.grad.numpy(), pairs, rtol=1e-3, atol=1e-6)


def test_rows_together_are_rows_alone():
    emissions, transitions = random_chain()
    together = log_marginals(emissions, transitions, ROWS)
    alone = []
    for part, count, opens in zip(emissions.split(COUNTS), COUNTS, ROWS.opens, strict=True):
        alone.append(log_marginals(part, transitions, WordRows(np.array([count]), np.array([opens]))))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_illegal_tags_have_no_share_and_no_gradient_is_lost(size):
    emissions = (size * torch.randn(sum(COUNTS), N_TAGS, generator=torch.Generator().manual_seed(3))).requires_grad_()
    logs = log_marginals(emissions, legal_transitions(SCHEME), ROWS)
    marginals, inside = logs.exp(), [2, 4]
    assert marginals[[0, 3, 8]][:, inside].abs().max() == 0.0
    assert (logs[4, inside] > -1000).all(), "a window from the middle of a sentence may begin inside an entity"
    (marginals * torch.randn(N_TAGS)).sum().backward()
    assert torch.isfinite(emissions.grad).all()


def test_mixed_precision_leaves_chains_alone():
    emissions, transitions = random_chain()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        marginals = log_marginals(emissions, transitions, ROWS)
        cost = negative_log_likelihood(emissions, LEGAL_TAGS, transitions, ROWS)
    assert torch.equal(marginals, log_marginals(emissions, transitions, ROWS))
    assert torch.equal(cost, negative_log_likelihood(emissions, LEGAL_TAGS, transitions, ROWS))


def test_a_tag_that_is_all_but_impossible_keeps_its_share_and_a_gradient():
    """Under 60 nats a word over four words: e^-240 is no number of float32."""
    emissions = torch.zeros(4, N_TAGS)
    emissions[:, 1:] = -60.0
    emissions.requires_grad_()
    marginals = log_marginals(emissions, legal_transitions(SCHEME), WordRows(np.array([4]), np.array([True])))
    assert marginals[3, 2].item() == pytest.approx(-120, abs=0.01), "B-X before it, I-X here"
    marginals[3, 2].backward()
    assert emissions.grad[:, 2].tolist() == pytest.approx([0, 0, 0, 1], abs=1e-3)
    assert emissions.grad[2, 1].item() == pytest.approx(1, abs=1e-3)


def test_a_rows_length_does_not_blur_its_probabilities():
    """500 equal words under legality alone: far from the ends the tags' shares no longer change from word to word."""
    emissions = torch.full((500, N_TAGS), 40.0)
    rows = WordRows(np.array([500]), np.array([True]))
    marginals = log_marginals(emissions, legal_transitions(SCHEME), rows).exp()
    torch.testing.assert_close(marginals[200], marginals[300], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(marginals.sum(dim=1), torch.ones(500))


def posterior_of(student, teacher, rows=ROWS, *, temperature=1.0, transitions=None, teacher_transitions=None):
    legality = legal_transitions(SCHEME)
    return posterior_loss(
        student,
        teacher,
        rows,
        transitions=legality if transitions is None else transitions,
        teacher_transitions=legality if teacher_transitions is None else teacher_transitions,
        temperature=temperature,
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_posterior_loss_is_the_cross_entropy_of_enumerated_marginals(temperature):
    student, transitions = random_chain(seed=1)
    teacher, legality = random_chain(seed=2, learnt=False)
    ours = enumerated_marginals(student / temperature, transitions)
    theirs = enumerated_marginals(teacher / temperature, legality)
    reached = theirs > 0
    expected = -(theirs[reached] * np.log(ours[reached])).sum() * temperature**2
    found = posterior_of(student, teacher, temperature=temperature, transitions=transitions)
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_posterior_loss_without_transitions_is_the_softened_cross_entropy(temperature):
    student, teacher = random_chain(seed=1)[0], random_chain(seed=2)[0]
    nothing = torch.zeros(N_TAGS + 1, N_TAGS)
    found = posterior_of(student, teacher, temperature=temperature, transitions=nothing, teacher_transitions=nothing)
    assert found.item() == pytest.approx(soft_cross_entropy(student, teacher, temperature=temperature).item(), rel=1e-5)


def test_a_student_that_is_its_teacher_has_no_posterior_gradient():
    teacher = random_chain(seed=2)[0]
    student = teacher.clone().requires_grad_()
    posterior_of(student, teacher).backward()
    assert student.grad.abs().max() < 1e-5


def test_the_teachers_logits_get_no_gradient():
    student, teacher = (random_chain(seed=seed)[0].requires_grad_() for seed in (1, 2))
    posterior_of(student, teacher).backward()
    assert teacher.grad is None


FORBIDDEN = -1e15
"""Illegal pairs of the loop: far below any path that is legal, however unlikely."""


def looped_marginals(emissions, transitions, rows):
    """Row by row and word by word, in logarithms and float64; gradients by automatic differentiation."""
    emissions, transitions = emissions.double(), transitions.double()
    transitions = torch.where(transitions > -5000, transitions, FORBIDDEN)
    result = []
    for row, opens in zip(emissions.split(rows.counts.tolist()), rows.opens, strict=True):
        ahead, behind = [row[0] + transitions[0] if opens else row[0]], [torch.zeros(row.shape[1]).double()]
        for word in row[1:]:
            ahead.append(torch.stack([(ahead[-1] + pair).logsumexp(0) for pair in transitions[1:].T]) + word)
        for word in row[1:].flip(0):
            behind.append(torch.stack([(behind[-1] + word + pair).logsumexp(0) for pair in transitions[1:]]))
        result += [(one + other).log_softmax(0) for one, other in zip(ahead, behind[::-1], strict=True)]
    return torch.stack(result)


def looped_posterior(student, teacher, rows, *, transitions, teacher_transitions, temperature):
    with torch.no_grad():
        target = looped_marginals(teacher / temperature, teacher_transitions, rows).exp()
    logs = looped_marginals(student / temperature, transitions, rows)
    return -(target * logs).sum() * temperature**2


def logits_of(kind, rows, generator):
    """Logits of student and teacher. Sure ones lie 20,000 apart; each is sure of some legal path, not of the same."""
    n_words = int(rows.counts.sum())
    student, teacher = (torch.randn(n_words, N_TAGS, generator=generator) for _ in range(2))
    if kind == "plain":
        return 4 * student, 4 * teacher
    if kind == "wide":
        return 60 * student, 60 * teacher
    opening = torch.tensor([0, 1, 3])
    for logits in (student, teacher):
        tags = opening[torch.randint(3, (n_words,), generator=generator)]
        inside = torch.rand(n_words, generator=generator) < 0.5
        inside[np.cumsum(rows.counts) - rows.counts] = False
        for word in inside.nonzero().flatten().tolist():
            before = int(tags[word - 1])
            tags[word] = before + before % 2  # B-X and I-X are followed by I-X, O by O
        logits.fill_(-1e4)[torch.arange(n_words), tags] = 1e4
    return student, teacher


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("kind", ["plain", "wide", "sure"])
def test_the_posterior_loss_and_its_gradients_are_those_of_a_loop(temperature, learnt, kind):
    """30 rows of 1 to 32 words, of which every fourth does not open its sentence.

    Where both are sure of other paths, a loss of 20,000 nats a word is bounded, and only its gradients are the loop's.
    """
    generator = torch.Generator().manual_seed(8)
    counts = torch.randint(1, 33, (30,), generator=generator).numpy()
    counts[:3] = 1
    rows = WordRows(counts, np.arange(30) % 4 > 0)
    legality = legal_transitions(SCHEME)
    student, teacher = logits_of(kind, rows, generator)
    student.requires_grad_()
    transitions = legality + learnt * torch.randn(legality.shape, generator=generator)
    transitions.requires_grad_(learnt)
    found, expected = (
        loss(
            student,
            teacher,
            rows,
            transitions=transitions,
            teacher_transitions=legality,
            temperature=temperature,
        )
        for loss in (posterior_loss, looped_posterior)
    )
    bounded = expected.item() if kind != "sure" else min(expected.item(), found.item())
    assert found.item() == pytest.approx(bounded, rel=1e-5)
    parameters = [student, transitions] if learnt else [student]
    for own, other in zip(*(torch.autograd.grad(loss, parameters) for loss in (found, expected)), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
