"""Deterministic algorithms: on a GPU inside the block, and nowhere else."""

from __future__ import annotations

import os

import pytest
import torch

from xtremedistil_ner.processes.determinism import deterministic_algorithms


def state():
    return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic


@pytest.mark.parametrize(("wanted", "has_gpu"), [(True, True), (True, False), (False, True)])
def test_a_gpu_computes_deterministically_inside_the_block_if_that_is_wanted(monkeypatch, wanted, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = state()
    with pytest.raises(ZeroDivisionError), deterministic_algorithms(wanted):
        is_on = wanted and has_gpu
        assert state() == ((True, True) if is_on else before)
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if is_on else None)
        assert not torch.is_deterministic_algorithms_warn_only_enabled(), "attention would go on as before"
        raise ZeroDivisionError
    assert state() == before
