"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from xtremedistil_ner.distillation.losses import (
    cosine_distance,
    label_loss,
    masked_piece_loss,
    soft_cross_entropy,
    squared_error,
    state_divergence,
)

LOSSES = {
    "labels": lambda values: label_loss(values, torch.tensor([1, 0, 2] * (len(values) // 3))),
    "squared error": lambda values: squared_error(values, torch.ones_like(values)),
    "softened": lambda values: soft_cross_entropy(values, torch.eye(3, 4).repeat(len(values) // 3, 1), temperature=2.0),
    "cosine": lambda values: cosine_distance(values, torch.ones_like(values)),
    "divergence": lambda values: state_divergence(values, torch.eye(3, 4).repeat(len(values) // 3, 1)),
    "masked pieces": lambda values: masked_piece_loss(values, torch.tensor([3, 3, 0] * (len(values) // 3))),
}


@pytest.mark.parametrize("loss", [label_loss, masked_piece_loss])
def test_cross_entropy_is_the_sum_of_minus_log_probabilities(loss):
    """Odds 1:3 make 3/4 and 1/4; odds 1:1 make 1/2: -ln(3/4) - ln(1/2) = ln(8/3)."""
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])
    assert loss(logits, torch.tensor([1, 0])).item() == pytest.approx(math.log(8 / 3))


def test_squared_error_is_averaged_over_columns_and_summed_over_words():
    """Word 1: (1 + 9) / 2 = 5; word 2: (4 + 0) / 2 = 2; together 7."""
    ours, theirs = torch.tensor([[1.0, 3.0], [2.0, 5.0]]), torch.tensor([[0.0, 0.0], [4.0, 5.0]])
    assert squared_error(ours, theirs).item() == pytest.approx(7.0)


def test_softened_cross_entropy_is_the_teachers_mean_of_the_students_costs():
    """At temperature 2 the odds 1:9 become 1:3. Teacher 1/4 and 3/4, student even: ln 2, times 2²."""
    teacher, student = torch.tensor([[0.0, math.log(9)]]), torch.tensor([[7.0, 7.0]])
    assert soft_cross_entropy(student, teacher, temperature=2.0).item() == pytest.approx(4 * math.log(2))


def test_softened_cross_entropy_of_a_sure_teacher_is_the_label_loss():
    student, teacher = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.eye(3, 4) * 100
    expected = label_loss(student, torch.tensor([0, 1, 2])).item()
    assert soft_cross_entropy(student, teacher, temperature=1.0).item() == pytest.approx(expected, rel=1e-5)


def test_gradients_of_softened_cross_entropy_keep_their_size_across_temperatures():
    """For small logits it is (s - t) / tags, centred, at every temperature."""
    for temperature in (1.0, 4.0, 16.0):
        student = torch.tensor([[0.01, -0.01, 0.0]], requires_grad=True)
        soft_cross_entropy(student, torch.zeros(1, 3), temperature=temperature).backward()
        assert torch.allclose(student.grad, torch.tensor([[0.01, -0.01, 0.0]]) / 3, atol=5e-5)


def test_cosine_distance_is_one_minus_the_cosine_whatever_the_lengths():
    """The same direction 0, a right angle 1, 60 degrees 1/2, the opposite 2."""
    ours = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, math.sqrt(3)], [-5.0, 0.0]])
    theirs = torch.tensor([[7.0, 0.0], [1.0, 0.0], [4.0, 0.0], [1.0, 0.0]])
    parts = [cosine_distance(a[None], b[None]).item() for a, b in zip(ours, theirs, strict=True)]
    assert parts == pytest.approx([0.0, 1.0, 0.5, 2.0], abs=1e-6)
    assert cosine_distance(ours, theirs).item() == pytest.approx(3.5)


def test_the_divergence_is_that_of_the_softmaxes_with_the_teacher_as_reference():
    """Teacher 1/4 and 3/4, student 1/2 and 1/2: 1/4 ln(1/2) + 3/4 ln(3/2)."""
    teacher, student = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[2.0, 2.0]])
    expected = math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4
    assert state_divergence(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert state_divergence(teacher + 5, teacher).item() == pytest.approx(0.0, abs=1e-6)


def test_the_gradient_of_the_label_loss_is_probability_minus_truth():
    logits = torch.tensor([[0.0, math.log(3)]], requires_grad=True)
    label_loss(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[1 / 4 - 1, 3 / 4]]))


def test_the_gradient_of_the_squared_error_is_twice_the_difference_over_the_columns():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]], requires_grad=True)
    squared_error(logits, torch.tensor([[0.0, 5.0, 2.0, 1.0]])).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[0.5, -1.0, 0.0, -0.5]]))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_add_up_over_words(name):
    values = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert LOSSES[name](values.repeat(2, 1)).item() == pytest.approx(2 * LOSSES[name](values).item())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_half_precision_inputs_are_float32(name):
    assert LOSSES[name](torch.full((3, 4), 300.0, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("loss", [label_loss, masked_piece_loss])
def test_no_words_cost_nothing(loss):
    assert loss(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).item() == 0.0


def test_a_float16_teacher_and_a_float32_student_are_compared_in_float32():
    """A squared difference of 300 is 90,000: more than float16 can hold."""
    assert squared_error(torch.zeros(1, 2), torch.full((1, 2), 300.0, dtype=torch.float16)).item() == 90_000.0
