"""The tests of this room run on the pretended device, a file at a time."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def device():
    """The pretended device, for all tests of a file."""
    from support.pretended_device import pretended_device

    with pretended_device() as found:
        yield found


@pytest.fixture
def waits(device):
    """The pretended device; how often the host waited for it in this test."""
    device.clear()
    return device


@pytest.fixture(scope="module")
def teachers(device, bert_folder):
    """One BERT on the CPU and on the device. Not to be trained."""
    from support.pretended_device import DEVICE
    from support.tiny_teacher import load

    return {"cpu": load(bert_folder), "cuda": load(bert_folder, device=DEVICE)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Soft labels of a few sentences."""
    from support.tiny_distillation import open_tiny_store

    return open_tiny_store(tmp_path_factory.mktemp("store"))
