"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from xtremedistil_ner.training.losses import label_loss, logit_loss, masked_piece_loss, representation_loss

LOSSES = {
    "labels": lambda values: label_loss(values, torch.tensor([1, 0, 2])),
    "logits": lambda values: logit_loss(values, torch.ones(3, 4)),
    "representation": lambda values: representation_loss(values, torch.ones(3, 4)),
    "masked pieces": lambda values: masked_piece_loss(values, torch.tensor([3, 3, 0])),
}


@pytest.mark.parametrize("loss", [label_loss, masked_piece_loss])
def test_cross_entropy_is_the_sum_of_minus_log_probabilities(loss):
    """Odds 1:3 make 3/4 and 1/4; odds 1:1 make 1/2: -ln(3/4) - ln(1/2) = ln(8/3)."""
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])
    assert loss(logits, torch.tensor([1, 0])).item() == pytest.approx(math.log(8 / 3))


@pytest.mark.parametrize("loss", [logit_loss, representation_loss])
def test_squared_error_is_averaged_over_columns_and_summed_over_words(loss):
    """Word 1: (1 + 9) / 2 = 5; word 2: (4 + 0) / 2 = 2; together 7."""
    ours, theirs = torch.tensor([[1.0, 3.0], [2.0, 5.0]]), torch.tensor([[0.0, 0.0], [4.0, 5.0]])
    assert loss(ours, theirs).item() == pytest.approx(7.0)


def test_the_gradient_of_the_label_loss_is_probability_minus_truth():
    logits = torch.tensor([[0.0, math.log(3)]], requires_grad=True)
    label_loss(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[1 / 4 - 1, 3 / 4]]))


def test_the_gradient_of_the_logit_loss_is_twice_the_difference_over_the_tags():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]], requires_grad=True)
    logit_loss(logits, torch.tensor([[0.0, 5.0, 2.0, 1.0]])).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[0.5, -1.0, 0.0, -0.5]]))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_add_up_over_words(name):
    torch.manual_seed(0)
    values = torch.randn(3, 4)
    twice = {
        "labels": lambda v: label_loss(v, torch.tensor([1, 0, 2] * 2)),
        "logits": lambda v: logit_loss(v, torch.ones(6, 4)),
        "representation": lambda v: representation_loss(v, torch.ones(6, 4)),
        "masked pieces": lambda v: masked_piece_loss(v, torch.tensor([3, 3, 0] * 2)),
    }
    assert twice[name](values.repeat(2, 1)).item() == pytest.approx(2 * LOSSES[name](values).item())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_half_precision_inputs_are_float32(name):
    assert LOSSES[name](torch.full((3, 4), 300.0, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("loss", [label_loss, masked_piece_loss])
def test_no_words_cost_nothing(loss):
    assert loss(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).item() == 0.0


def test_a_float16_teacher_and_a_float32_student_are_compared_in_float32():
    """A squared difference of 300 is 90,000: more than float16 can hold."""
    assert logit_loss(torch.zeros(1, 2), torch.full((1, 2), 300.0, dtype=torch.float16)).item() == 90_000.0
