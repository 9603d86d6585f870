"""The training loop on the device: updates, looks at dev, best weights, checkpoints and what is taken from them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from support.pretended_device import DEVICE, on_host, places_of
from support.tiny_distillation import GOLD, WORDS, open_tiny_distillation, same_passes
from support.tiny_teacher import SCHEME
from torch.optim.optimizer import register_optimizer_step_pre_hook

from xtremedistil_ner.errors import Interrupted
from xtremedistil_ner.models.student import load_student, save_student, student_predictor
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import silent
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.loop import train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase
from xtremedistil_ner.training.selection import DevSet

pytestmark = pytest.mark.usefixtures("waits")
KINDS = ("bilstm", "cnn", "transformer")


def phases_of(distillation, processes):
    """The states, selected by their error, then labels and logits, selected by F1; the embeddings stay."""
    network = distillation.network
    dev = DevSet({"en": GOLD}, encoder=distillation.encoder, scheme=SCHEME, processes=processes, batch_pieces=40)
    predictor, crf = student_predictor(network, device=processes.device), network.crf
    common = {"updates": 3, "learning_rate": 0.02, "evaluate_every": 2, "patience": 9, "weight_decay": 0.01}
    layers = [name for name in network.layers() if name != "embeddings"]

    error = distillation.representation_error(WORDS, processes)

    def phase(name, losses, evaluate):
        sources = tuple(same_passes(distillation.source(loss)) for loss in losses)
        return Phase(name, sources, distillation.parameters_of(layers), evaluate=evaluate, **common)

    return [
        phase("states", ["representation"], lambda: {"score": -error()}),
        phase("labels", ["labels", "logits"], lambda: dev.score(predictor, crf.transitions() if crf else None)),
    ]


def train(distillation, folder, *, tell=silent):
    processes = Processes(rank=0, count=1, device=distillation.teacher.model.device)
    looks = train_phases(
        distillation.network,
        phases_of(distillation, processes),
        settings=LoopSettings("train", 7, distillation.dtype, 65_536, checkpoint_every_s=0.0),
        processes=processes,
        checkpoints=CheckpointFolder(folder, fingerprint="job"),
        tell=tell,
    )
    return looks, {name: on_host(value) for name, value in distillation.network.state_dict().items()}


def test_dev_sets_of_all_languages_are_scored_together_on_the_device(store, teachers):
    """Fewer and fuller batches, and the F1 of one language after the other."""
    sentences = {"en": GOLD, "de": (), "no": GOLD[2:], "sv": GOLD[:2]}
    scores, sizes = [], []
    for teacher in teachers.values():
        own = open_tiny_distillation(store, teacher, "cnn")
        device = own.teacher.model.device
        dev = DevSet(
            sentences, encoder=own.encoder, scheme=SCHEME, processes=Processes(0, 1, device), batch_pieces=8192
        )
        predictor = student_predictor(own.network, device=device)
        begin, rows = predictor.begin, []
        predictor.begin = lambda batch, begin=begin, rows=rows: rows.append(len(batch.rows)) or begin(batch)
        scores.append(dev.score(predictor))
        sizes.append(rows)
    assert scores[0] == scores[1]
    assert [sum(rows) for rows in sizes] == [8, 8] and list(map(len, sizes)) == [3, 1]


def stop_after(update):
    seen = []

    def tell(event):
        seen.append(event)
        if event.unit == "updates" and sum(event.unit == "updates" for event in seen) == update:
            os.kill(os.getpid(), signal.SIGTERM)

    return tell


@pytest.fixture
def places_of_optimisers():
    """Where the parameters, gradients and moments of each step of an optimiser lie, and how many steps it has done."""
    found = []

    def note(optimizer, *_):
        tensors = [tensor for group in optimizer.param_groups for p in group["params"] for tensor in (p, p.grad)]
        tensors += [moment for values in optimizer.state.values() for moment in values.values()]
        steps = {int(on_host(values["step"])) for values in optimizer.state.values() if values}
        found.append((Counter(tensor.device for tensor in tensors if tensor is not None), steps))

    hook = register_optimizer_step_pre_hook(note)
    yield found
    hook.remove()


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_the_device_ends_with_the_cpus_bytes(tmp_path, store, teachers, kind):
    """Looks, best weights and the way between phases included; the loop's own passes differ, so equal ones are set."""
    crf = {} if kind == "transformer" else {"crf": True, "head": "direct"}
    here, there = (open_tiny_distillation(store, teacher, kind, **crf) for teacher in teachers.values())
    looks, weights = train(here, tmp_path / "here")
    assert len(looks) == 6 and looks[0]["score"] != looks[2]["score"], "else this shows nothing"
    found_looks, found = train(there, tmp_path / "there")
    assert found_looks == looks
    assert_equal_weights(found, weights)
    assert set(places_of(there.network).values()) == {DEVICE}
    (checkpoint,) = (tmp_path / "there").iterdir()
    (expected,) = (tmp_path / "here").iterdir()
    assert (checkpoint / "state.safetensors").read_bytes() == (expected / "state.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("stop", "dtype"), [(2, torch.float32), (5, torch.bfloat16)], ids=["first phase, float32", "second phase, bf16"]
)
def test_a_stopped_job_goes_on_with_its_moments_on_the_device(
    tmp_path, store, teachers, places_of_optimisers, stop, dtype
):
    def new():
        return open_tiny_distillation(store, teachers["cuda"], "bilstm", dtype=dtype)

    looks, weights = train(new(), tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"stopped at update {stop}"):
        train(new(), tmp_path / "stopped", tell=stop_after(stop))
    (checkpoint,) = (tmp_path / "stopped").iterdir()
    saved = load_file(checkpoint / "state.safetensors")
    assert {name.partition("/")[0] for name in saved} == {"model", "best", "loss", "optimizer"}
    places_of_optimisers.clear()
    found_looks, found = train(new(), tmp_path / "stopped")
    assert found_looks == looks
    assert_equal_weights(found, weights)
    assert {device for places, _ in places_of_optimisers for device in places} == {DEVICE}
    assert places_of_optimisers[0][1] == {(stop - 1) % 3 + 1}, "the first step goes on with the moments of the last one"


def test_a_checkpoint_of_one_device_is_taken_by_the_other(tmp_path, store, teachers):
    """A job may begin on a GPU and end on a CPU."""
    _, weights = train(open_tiny_distillation(store, teachers["cpu"], "cnn"), tmp_path / "whole")
    for first, second in (("cpu", "cuda"), ("cuda", "cpu")):
        with pytest.raises(Interrupted):
            train(open_tiny_distillation(store, teachers[first], "cnn"), tmp_path / first, tell=stop_after(2))
        _, found = train(open_tiny_distillation(store, teachers[second], "cnn"), tmp_path / first)
        assert_equal_weights(found, weights)


def test_the_loop_asks_for_numbers_at_looks_alone(waits, tmp_path, store, teachers):
    """An update on logits waits for nothing: of what does, checkpoints and looks are all."""
    distillation = open_tiny_distillation(store, teachers["cuda"], "bilstm")
    names = distillation.parameters_of(list(distillation.network.layers()))
    phase = Phase("logits", (distillation.source("logits"),), names, 9, 0.01, None, 9, 9)
    waits.clear()
    train_phases(
        distillation.network,
        [phase],
        settings=LoopSettings("train", 7, torch.float32, 65_536, checkpoint_every_s=1e9),
        processes=Processes(0, 1, DEVICE),
        checkpoints=CheckpointFolder(tmp_path, fingerprint="job"),
        tell=silent,
    )
    places = Counter()
    for wait, count in waits.items():
        places[wait.partition(" at ")[2].partition(":")[0]] += count
    looks = 2
    assert places.pop("training/loop.py") == looks
    assert places.keys() == {"training/checkpoints.py"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_on_the_device_is_saved_as_one_on_the_cpu(tmp_path, store, teachers, kind):
    for place, teacher in teachers.items():
        own = open_tiny_distillation(store, teacher, kind)
        save_student(tmp_path / place, own.network, own.encoder.tokenizer, SCHEME, lowercase=False, max_pieces=16)
    files = sorted(path.name for path in (tmp_path / "cpu").iterdir())
    assert all((tmp_path / "cpu" / name).read_bytes() == (tmp_path / "cuda" / name).read_bytes() for name in files)
    assert set(places_of(load_student(tmp_path / "cuda").network).values()) == {torch.device("cpu")}


def test_passes_shrink_on_the_device_as_on_the_cpu(tmp_path, store, teachers):
    """Where memory holds two rows: the same bytes, and the same words."""
    found = {}
    for place, teacher in teachers.items():
        distillation, said = open_tiny_distillation(store, teacher, "bilstm"), []
        source = same_passes(distillation.source("logits"))

        def loss(rows, source=source):
            if len(rows) > 2:
                raise torch.OutOfMemoryError("tried to allocate 1 PiB")
            return source.loss(rows)

        names = distillation.parameters_of(list(distillation.network.layers()))
        train_phases(
            distillation.network,
            [Phase("logits", (replace(source, loss=loss),), names, 3, 0.01, None, 9, 9)],
            settings=LoopSettings("train", 7, torch.float32, 65_536, checkpoint_every_s=1e9),
            processes=Processes(0, 1, teacher.model.device),
            checkpoints=CheckpointFolder(tmp_path / place, fingerprint="job"),
            tell=said.append,
        )
        weights = {name: on_host(value) for name, value in distillation.network.state_dict().items()}
        found[place] = weights, [event.message for event in said if "memory" in event.message]
    assert found["cpu"][1] == found["cuda"][1] != []
    assert_equal_weights(found["cuda"][0], found["cpu"][0])
