"""Updates of students on the device: each kind, each loss, the gradients of the CPU, and few waits for the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.pretended_device import DEVICE, on_host, places_of
from support.tiny_distillation import WORDS, make_student, open_tiny_distillation, same_passes, student_encoder

from xtremedistil_ner.models.student import student_predictor
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.training.loop import step_gradients
from xtremedistil_ner.training.phases import LoopSettings

CPU = torch.device("cpu")
LOSSES = {
    "labels": ("labels", {}),
    "hard": ("hard", {}),
    "logits": ("logits", {}),
    "soft cross-entropy": ("logits", {"logit_loss": "soft_cross_entropy", "temperature": 2.0}),
    "posterior": ("logits", {"logit_loss": "posterior", "temperature": 2.0}),
    "states": ("representation", {}),
    "states, cosine": ("representation", {"representation_loss": "cosine"}),
    "states, kld": ("representation", {"representation_loss": "kld"}),
}
CRF = {"head": "direct", "crf": True}
IN_BF16 = ("logits", "posterior", "states")
CASES = [(kind, name, {}, torch.float32) for kind in ("bilstm", "cnn", "transformer") for name in LOSSES]
CASES += [(kind, name, {}, torch.bfloat16) for kind in ("bilstm", "cnn", "transformer") for name in IN_BF16]
CASES += [(kind, name, CRF, torch.float32) for kind in ("bilstm", "cnn") for name in ("labels", "posterior")]


def update(distillation, loss, device, dtype):
    """An update's loss and gradients, as the loop makes them."""
    distillation.network.train()
    settings = LoopSettings("train", 13, dtype, 65_536, 120.0)
    processes = Processes(rank=0, count=1, device=device)
    return step_gradients([same_passes(distillation.source(loss))], update=0, settings=settings, processes=processes)


@pytest.mark.parametrize(("kind", "name", "student", "dtype"), CASES, ids=lambda value: str(value or "plain"))
def test_an_update_on_the_device_has_the_cpus_gradients_and_never_waits(
    waits, store, teachers, kind, name, student, dtype
):
    """A wait leaves the device idle for as long as the host takes to prepare what comes next."""
    loss, options = LOSSES[name]
    here, there = (
        open_tiny_distillation(store, teacher, kind, dtype=dtype, losses=options, **student)
        for teacher in teachers.values()
    )
    expected = update(here, loss, CPU, dtype)
    waits.clear()
    found = update(there, loss, DEVICE, dtype)
    assert not waits.total(), waits
    assert found.device == DEVICE and torch.equal(on_host(found), expected)
    assert set(places_of(there.network).values()) == {DEVICE}
    for (weight, own), other in zip(here.network.named_parameters(), there.network.parameters(), strict=True):
        assert (own.grad is None) == (other.grad is None), weight
        assert own.grad is None or torch.equal(on_host(other.grad), own.grad), weight


@pytest.mark.parametrize("kind", ["bilstm", "cnn", "transformer"])
def test_a_look_at_dev_has_the_cpus_numbers(waits, store, teachers, kind):
    here, there = (open_tiny_distillation(store, teacher, kind) for teacher in teachers.values())
    encoder = student_encoder(kind)
    encoded = encoder.encode(WORDS)
    batch = encoder.collate(encoded, np.arange(encoded.n_rows))
    found = student_predictor(there.network, device=DEVICE)(batch)
    assert np.array_equal(found, student_predictor(here.network)(batch))
    for own in (here, there):
        own.network.eval()
    with torch.inference_mode():
        errors = [own.representation_error(WORDS, Processes(0, 1, own.teacher.model.device))() for own in (here, there)]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("kind", ["bilstm", "cnn"])
def test_a_crf_on_the_device_gives_its_transitions(waits, store, teachers, kind):
    crf = open_tiny_distillation(store, teachers["cuda"], kind, **CRF).network.crf
    assert crf.scores.device == crf.legality.device == DEVICE
    assert isinstance(crf.transitions(), np.ndarray)


def test_a_transformer_reads_rows_without_padding_on_the_device_as_on_the_cpu(waits):
    """On the CPU no mask is made for them."""
    ids = torch.randint(5, 20, (3, 7), generator=torch.Generator().manual_seed(0))
    here, there = (make_student("transformer", 8).eval().to(place) for place in (CPU, DEVICE))
    waits.clear()
    found = there.hidden(ids.to(DEVICE), torch.ones_like(ids).to(DEVICE))
    assert not any("read" in wait for wait in waits), waits
    torch.testing.assert_close(on_host(found), here.hidden(ids, torch.ones_like(ids)))
