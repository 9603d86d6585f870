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
from torch import nn
from transformers import BertForTokenClassification

from xtremedistil_ner.distillation.masked_language_model import masked_language_model, masked_source
from xtremedistil_ner.distillation.new_student import new_student
from xtremedistil_ner.models.packed_layers import pack_layers
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.teacher import (
    adopt_teacher,
    move,
    piece_embeddings,
    save_teacher,
    teacher_predictor,
    teacher_states,
)
from xtremedistil_ner.models.voting import Vote, load_votes, save_votes
from xtremedistil_ner.pieces.predictor import compute_word_logits
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


def padded_and_even(teacher):
    """A batch with padding, and one whose rows are equally long."""
    padded, encoded = batch_of(teacher), teacher.encoder.encode([WORDS[0], WORDS[0]])
    even = teacher.encoder.collate(encoded, np.arange(2))
    assert even.attention_mask.all() and not padded.attention_mask.all()
    return padded, even


def test_nothing_waits_for_the_device_before_a_batch_is_taken(pair, waits):
    """Of ModernBERT's two masks, transformers itself asks whether the batch has padding, where it may have some."""
    teacher = pair[1]
    for number, batch in enumerate(padded_and_even(teacher)):
        asks = teacher.model.config.model_type == "modernbert" and number == 0
        waits.clear()
        for layer in (0, LAYERS):
            teacher_states(teacher, layer, torch.float32)(batch)
        assert waits.total() <= 4 * asks, waits
        waits.clear()
        take = teacher_predictor(teacher, torch.float32).begin(batch)
        assert waits.total() <= 2 * asks, waits
        waits.clear()
        assert np.isfinite(take()).all() and waits.total() == 1


def test_a_teacher_whose_tags_have_several_outputs_waits_no_more(waits, tmp_path):
    teacher = load(save_bert(tmp_path, tags=("O", "S-PER", "B-PER", "I-PER", "E-PER", "B-LOC", "I-LOC")), device=DEVICE)
    waits.clear()
    teacher_predictor(teacher, torch.float32).begin(batch_of(teacher))
    assert not waits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_teacher_packed_for_the_device_gives_the_same_labels_from_smaller_weights(pair, dtype):
    expected = teacher_predictor(pair[0], dtype)(batch_of(pair[0]))
    pack_layers(pair[1].model, dtype)
    assert {layer.weight.dtype for layer in pair[1].model.modules() if isinstance(layer, nn.Linear)} == {dtype}
    assert np.array_equal(teacher_predictor(pair[1], dtype)(batch_of(pair[1])), expected)


def test_where_the_devices_memory_runs_out_labelling_goes_on_in_smaller_batches(teachers, monkeypatch):
    """The device holds 40 pieces."""
    plain, said = BertForTokenClassification.forward, []

    def forward(self, input_ids, **more):
        if input_ids.numel() > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, input_ids=input_ids, **more)

    predictors = [teacher_predictor(teachers[place], torch.float32, say=said.append) for place in ("cpu", "cuda")]
    text = [words for words in WORDS for _ in range(5)]
    options = {"n_tags": len(SCHEME.tags), "batch_pieces": 1000}
    expected = compute_word_logits(predictors[0], teachers["cpu"].encoder, text, **options).logits
    monkeypatch.setattr(BertForTokenClassification, "forward", forward)
    found = compute_word_logits(predictors[1], teachers["cuda"].encoder, text, **options).logits
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert said and predictors[1].most_pieces <= 40


def test_a_checkpoint_is_looked_at_on_the_device_and_kept_on_the_cpu(waits, tmp_path):
    teacher = adopt_teacher(save_bert(tmp_path), SCHEME, labels={}, max_pieces=MAX_PIECES, sample=WORDS, device=DEVICE)
    assert any("models/on_device.py" in wait for wait in waits)
    assert set(places_of(teacher.model).values()) == {CPU}


def test_attention_of_a_teacher_from_scratch_is_eager_on_a_cpu_alone():
    sizes = {"layers": 1, "hidden_width": 16, "heads": 2, "dropout": 0.1, "max_pieces": MAX_PIECES}
    tokenizer = wordpiece_tokenizer(BERT_PIECES, lowercase=False, special_rows=True)
    for on_gpu, expected in ((False, "eager"), (True, "sdpa")):
        teacher = build_teacher(tokenizer, SCHEME, **sizes, seed=0, on_gpu=on_gpu)
        assert teacher.model.config._attn_implementation == expected


def test_the_embeddings_that_an_svd_takes_lie_on_the_cpu(pair):
    here, there = pair
    assert piece_embeddings(there).device == CPU
    assert torch.equal(piece_embeddings(there), piece_embeddings(here))


def gradients_of(model, source, device, dtype, waits):
    model.train()
    settings = LoopSettings("finetune", 13, dtype, 8192, 120.0)
    waits.clear()
    loss = step_gradients([source], update=0, settings=settings, processes=Processes(0, 1, device))
    assert device == CPU or waits.total() <= 2 * (model.config.model_type == "modernbert"), waits
    assert set(places_of(model).values()) == {torch.device(device)}
    return [on_host(loss), *(on_host(p.grad) for p in model.parameters() if p.grad is not None)]


@DTYPES
def test_an_update_of_fine_tuning_has_the_cpus_gradients(pair, dtype, waits):
    gold = np.concatenate([SCHEME.encode(sentence.tags) for sentence in GOLD])

    def gradients(teacher, device):
        encoded = teacher.encoder.encode(WORDS)
        plan = BatchPlan(encoded.piece_lengths(), batch=4, seed=1)
        source = classifier_source(teacher, encoded, gold, dtype=dtype, plan=plan)
        return gradients_of(teacher.model, source, device, dtype, waits)

    expected, found = gradients(pair[0], CPU), gradients(pair[1], DEVICE)
    assert len(found) > LAYERS
    assert all(torch.equal(own, other) for own, other in zip(found, expected, strict=True))


@DTYPES
def test_an_update_of_a_masked_language_model_has_the_cpus_gradients(pair, dtype, waits):
    def gradients(teacher, device):
        encoded = teacher.encoder.encode(WORDS)
        plan = BatchPlan(encoded.piece_lengths(), batch=4, seed=1)
        model = masked_language_model(teacher, origin=None, revision=None, seed=1)
        move(model, device)
        assert model.base_model is teacher.model.base_model
        source = masked_source(model, teacher, encoded, plan=plan, probability=0.3)
        return gradients_of(model, source, device, dtype, waits)

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
