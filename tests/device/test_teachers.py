"""Teachers on the device: labels, votes, states, embeddings, and the updates that train them."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch
from support.pretended_device import DEVICE, on_host, places_of
from support.tiny_distillation import GOLD, WORDS
from support.tiny_run import write_recipe
from support.tiny_teacher import BERT_PIECES, LAYERS, MAX_PIECES, SCHEME, load, save_bert, save_xlm_roberta, vote

from xtremedistil_ner.distillation.masked_language_model import masked_language_model, masked_source
from xtremedistil_ner.distillation.new_student import new_student
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.teacher import move, piece_embeddings, save_teacher, teacher_predictor, teacher_states
from xtremedistil_ner.models.voting import Vote, load_votes, save_votes
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer
from xtremedistil_ner.processes.precision import dtype_of, precision_on
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.stages.finetune import classifier_source
from xtremedistil_ner.training.loop import step_gradients
from xtremedistil_ner.training.phases import LoopSettings
from xtremedistil_ner.training.sampling import BatchPlan

pytestmark = pytest.mark.usefixtures("waits")
CPU = torch.device("cpu")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
FAMILIES = ("bert", "xlm-roberta", "modernbert")


def new_teacher(family, bert_folder, xlm_roberta_folder):
    if family != "modernbert":
        return load(bert_folder if family == "bert" else xlm_roberta_folder)
    sizes = {"layers": LAYERS, "hidden_width": 16, "heads": 2, "dropout": 0.1, "max_pieces": MAX_PIECES}
    tokenizer = wordpiece_tokenizer(BERT_PIECES, lowercase=False, special_rows=True)
    return build_teacher(tokenizer, SCHEME, **sizes, seed=0)


@pytest.fixture(params=FAMILIES)
def pair(request, bert_folder, xlm_roberta_folder):
    """The same teacher on the CPU and on the device."""
    here, there = (new_teacher(request.param, bert_folder, xlm_roberta_folder) for _ in range(2))
    move(there.model, DEVICE)
    return here, there


def batch_of(teacher):
    encoded = teacher.encoder.encode(WORDS)
    return teacher.encoder.collate(encoded, np.arange(encoded.n_rows))


@DTYPES
def test_labels_and_states_are_the_cpus(pair, dtype):
    here, there = pair
    batch = batch_of(here)
    assert np.array_equal(teacher_predictor(there, dtype)(batch), teacher_predictor(here, dtype)(batch))
    for layer in (0, 1, LAYERS):
        states = teacher_states(there, layer, dtype)(batch)
        assert states.device == DEVICE
        assert torch.equal(on_host(states), teacher_states(here, layer, dtype)(batch))


def test_the_embeddings_that_an_svd_takes_lie_on_the_cpu(pair):
    here, there = pair
    assert piece_embeddings(there).device == CPU
    assert torch.equal(piece_embeddings(there), piece_embeddings(here))


def gradients_of(model, source, device, dtype):
    model.train()
    settings = LoopSettings("finetune", 13, dtype, 8192, 120.0)
    loss = step_gradients([source], update=0, settings=settings, processes=Processes(0, 1, device))
    assert set(places_of(model).values()) == {torch.device(device)}
    return [on_host(loss), *(on_host(p.grad) for p in model.parameters() if p.grad is not None)]


@DTYPES
def test_an_update_of_fine_tuning_has_the_cpus_gradients(pair, dtype):
    gold = np.concatenate([SCHEME.encode(sentence.tags) for sentence in GOLD])

    def gradients(teacher, device):
        encoded = teacher.encoder.encode(WORDS)
        plan = BatchPlan(encoded.piece_lengths(), batch=4, seed=1)
        source = classifier_source(teacher, encoded, gold, dtype=dtype, plan=plan)
        return gradients_of(teacher.model, source, device, dtype)

    expected, found = gradients(pair[0], CPU), gradients(pair[1], DEVICE)
    assert len(found) > LAYERS
    assert all(torch.equal(own, other) for own, other in zip(found, expected, strict=True))


@DTYPES
def test_an_update_of_a_masked_language_model_has_the_cpus_gradients(pair, dtype):
    def gradients(teacher, device):
        encoded = teacher.encoder.encode(WORDS)
        plan = BatchPlan(encoded.piece_lengths(), batch=4, seed=1)
        model = masked_language_model(teacher, origin=None, revision=None, seed=1)
        move(model, device)
        assert model.base_model is teacher.model.base_model
        source = masked_source(model, teacher, encoded, plan=plan, probability=0.3)
        return gradients_of(model, source, device, dtype)

    expected, found = gradients(pair[0], CPU), gradients(pair[1], DEVICE)
    assert len(found) > LAYERS
    assert all(torch.equal(own, other) for own, other in zip(found, expected, strict=True))


def test_votes_of_teachers_on_the_device_are_the_cpus(tmp_path, bert_folder):
    """Three whose outputs are IOB2, IO and BIOES: put together, added up, and made IOB2."""
    bioes = ("O", "S-PER", "B-PER", "I-PER", "E-PER", "B-LOC", "I-LOC")
    io, others = save_bert(tmp_path / "io", tags=("I-LOC", "O", "I-PER")), save_xlm_roberta(tmp_path / "b", tags=bioes)
    save_votes(tmp_path / "run", [Vote(load(folder), 1.0 + n) for n, folder in enumerate((bert_folder, io, others))])
    here, there = (load_votes(tmp_path / "run", SCHEME, max_pieces=MAX_PIECES, device=place) for place in (CPU, DEVICE))
    assert {vote.teacher.model.device for vote in there} == {DEVICE}
    for dtype in (torch.float32, torch.bfloat16):
        labels, expected = (vote(votes, WORDS, dtype=dtype, batch_pieces=40) for votes in (there, here))
        assert all(map(np.array_equal, astuple(labels), astuple(expected)))


def test_a_teacher_on_the_device_is_saved_as_one_on_the_cpu(tmp_path, pair):
    for name, teacher in zip(("here", "there"), pair, strict=True):
        save_teacher(tmp_path / name, teacher)
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert "model.safetensors" in files
    assert all((tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    "overrides",
    [
        ("student.embedding_width=8",),
        ("student.kind=cnn", "student.embedding_width=8", "student.cnn={layers: 2, kernel: 3}"),
        ("student.kind=transformer", "student.transformer.hidden_width=8", "student.transformer.heads=2"),
        ("student.kind=transformer", "student.transformer={start: teacher, layers: 2}"),
    ],
    ids=["bilstm", "cnn", "transformer", "layers of the teacher"],
)
def test_a_new_student_of_a_teacher_on_the_device_has_the_cpus_weights(teachers, tmp_path, overrides):
    recipe = load_recipe(write_recipe(tmp_path / "tiny.yaml", tmp_path), overrides=("train.strategy=D2", *overrides))
    pieces = [*SPECIAL_PIECES, *reversed(BERT_PIECES[5:][::2])]
    tokenizer = wordpiece_tokenizer(pieces, lowercase=False, special_rows="transformer" in overrides[0])
    here, there = (new_student(recipe, tokenizer, teacher).to(DEVICE) for teacher in teachers.values())
    assert set(places_of(there).values()) == {DEVICE}
    for (name, own), other in zip(here.named_parameters(), there.named_parameters(), strict=True):
        assert name == other[0] and torch.equal(on_host(own), on_host(other[1]))


def test_precision_is_bf16_where_the_device_has_it(monkeypatch):
    assert dtype_of(precision_on(DEVICE, "auto")) == torch.bfloat16
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert precision_on(DEVICE, "auto") == "float32", "a V100 or a T4 only emulates it"
