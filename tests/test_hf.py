"""The BiLSTM student inside transformers."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_student import (
    MAX_PIECES,
    SCHEME,
    make_cnn,
    make_network,
    make_tokenizer,
    ragged_batch,
    save_tiny_student,
)
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer, pipeline

import xtremedistil_ner.hf
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.models.student import load_student
from xtremedistil_ner.tagging.tagger import Tagger

TEXT = "Abc de, fGh \u200b [CLS] a.b äöx 中日" + " abc de" * 40


@pytest.mark.parametrize("head", ["projected", "direct"])
def test_transformers_loads_exactly_the_weights_that_were_saved(tmp_path, head):
    network = save_tiny_student(tmp_path, head)
    model, loading = AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values()), loading
    assert {name.removeprefix("network."): value for name, value in model.state_dict().items()}.keys() == (
        network.state_dict().keys()
    )
    for name, value in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value), name
    batch = ragged_batch([2, 5])
    with torch.no_grad():
        assert torch.equal(model(*batch).logits, network(*batch))


def test_what_transformers_saves_is_a_student(tmp_path):
    network = save_tiny_student(tmp_path / "first")
    AutoModelForTokenClassification.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    AutoTokenizer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    student = load_student(tmp_path / "second")
    assert student.scheme == SCHEME
    assert student.encoder.budget == MAX_PIECES
    assert student.network.shape == network.shape
    for name, value in network.state_dict().items():
        assert torch.equal(student.network.state_dict()[name], value), name


def test_new_lstms_start_as_torch_starts_them():
    """Torch draws every LSTM weight and bias from ±1/sqrt(hidden); transformers would set all biases to zero."""
    config = xtremedistil_ner.hf.BiLstmConfig(vocabulary_size=20, hidden_width=16, id2label={0: "O"})
    torch.manual_seed(0)
    network = xtremedistil_ner.hf.BiLstmForTokenClassification(config).network
    for name, parameter in (*network.forward_lstm.named_parameters(), *network.backward_lstm.named_parameters()):
        assert 0.15 < parameter.abs().max() <= 0.25, name
        assert parameter.abs().mean() > 0.08, name


def test_a_weight_that_a_checkpoint_lacks_starts_as_torch_starts_it_and_no_other_is_touched(tmp_path, capfd):
    network = save_tiny_student(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["network.forward_lstm.bias_hh_l0"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model, loading = AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert loading["missing_keys"] == {"network.forward_lstm.bias_hh_l0"}
    drawn = model.network.forward_lstm.bias_hh_l0
    assert 0 < drawn.abs().min()
    assert drawn.abs().max() <= 7**-0.5
    for name, value in network.state_dict().items():
        if name != "forward_lstm.bias_hh_l0":
            assert torch.equal(model.network.state_dict()[name], value), name


def test_the_auto_tokenizer_makes_the_pieces_of_the_folders_tokenizer_and_never_truncates(tmp_path):
    save_tiny_student(tmp_path)
    encoded = AutoTokenizer.from_pretrained(tmp_path)(TEXT, truncation=False)
    assert encoded["input_ids"] == make_tokenizer().encode(TEXT).ids
    assert set(encoded) == {"input_ids", "attention_mask"}
    assert len(encoded["input_ids"]) > MAX_PIECES


def test_the_loss_is_the_mean_over_pieces_with_a_label(tmp_path):
    save_tiny_student(tmp_path)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    input_ids, mask = ragged_batch([2, 3])
    labels = torch.tensor([[1, -100, -100], [0, -100, 4]])
    with torch.no_grad():
        output = model(input_ids, mask, labels=labels)
    log_p = output.logits.double().log_softmax(-1)
    expected = -(log_p[0, 0, 1] + log_p[1, 0, 0] + log_p[1, 2, 4]) / 3
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_a_mask_every_piece_counts(tmp_path):
    save_tiny_student(tmp_path)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    input_ids, mask = ragged_batch([4, 4])
    with torch.no_grad():
        assert torch.equal(model(input_ids).logits, model(input_ids, mask).logits)


def test_registering_twice_is_no_error(tmp_path):
    importlib.reload(xtremedistil_ner.hf)
    save_tiny_student(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).vocab_size == load_student(tmp_path).network.shape.vocabulary_size
    assert type(AutoModelForTokenClassification.from_pretrained(tmp_path)).__name__ == "BiLstmForTokenClassification"


def test_a_pipeline_over_the_export_sees_what_the_tagger_sees(tmp_path):
    """First pieces' argmax tags and probabilities, piece by piece, whole texts in one window."""
    save_tiny_student(tmp_path / "student")
    target = tmp_path / "export"
    target.mkdir()
    write_export(tmp_path / "student", target, report=None, licence="other", recipe_name="tiny")
    text = "Abc de, fGh a.b ef"
    pieces = pipeline("token-classification", model=str(target), ignore_labels=[])(text)
    tagger = Tagger.from_pretrained(target)
    words = ["Abc", "de", ",", "fGh", "a", ".", "b", "ef"]
    batch = tagger.encoder.collate(tagger.encoder.encode([words]), np.array([0]))
    logits = tagger.predictor(batch)[0]
    first = [pieces[position] for position in batch.first_piece[0]]
    assert [piece["entity"] for piece in first] == [SCHEME.tags[index] for index in logits.argmax(axis=1)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert [piece["score"] for piece in first] == pytest.approx(probabilities.max(axis=1), abs=1e-5)


def test_a_pipeline_gives_the_same_alone_and_in_a_batch(tmp_path):
    save_tiny_student(tmp_path)
    tagger = pipeline("token-classification", model=str(tmp_path), aggregation_strategy="first")
    texts = ["Abc de", "b", TEXT]
    together = tagger(texts, batch_size=3)
    for text, entities in zip(texts, together, strict=True):
        alone = tagger(text)
        assert [(entity["entity_group"], entity["start"]) for entity in alone] == (
            [(entity["entity_group"], entity["start"]) for entity in entities]
        )
    assert max(entity["end"] for entity in together[2]) > 250


@pytest.mark.parametrize("make", [make_network, make_cnn], ids=["bilstm", "cnn"])
@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_a_text_without_a_piece_has_no_entities_alone_and_in_any_batch(tmp_path, make, strategy):
    save_tiny_student(tmp_path, make=make)
    tagger = pipeline("token-classification", model=str(tmp_path), aggregation_strategy=strategy, ignore_labels=[])
    texts = ["Abc de", "", "   ", "\u200b", "fGh", ""]
    for order in (texts, texts[::-1], ["", ""]):
        for batch_size in (1, 2, len(order)):
            found = tagger(order, batch_size=batch_size)
            assert [bool(entities) for entities in found] == [text.isascii() and bool(text.strip()) for text in order]


@pytest.mark.parametrize("make", [make_network, make_cnn], ids=["bilstm", "cnn"])
@pytest.mark.parametrize("shape", [(1, 0), (2, 0), (0, 3), (0, 0)])
def test_a_batch_without_pieces_has_logits_without_pieces(tmp_path, make, shape):
    save_tiny_student(tmp_path, make=make)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    ids = torch.zeros(shape, dtype=torch.int64)
    assert model(ids, ids).logits.shape == model(ids).logits.shape == (*shape, len(SCHEME.tags))


def test_the_config_survives_a_round_trip(tmp_path):
    save_tiny_student(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "again")
    first, second = (
        json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in (tmp_path, tmp_path / "again")
    )
    second.pop("transformers_version")
    assert second == first
