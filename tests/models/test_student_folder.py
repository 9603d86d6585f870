"""A student's folder: what is written is what is read, and anything else is refused by name."""

from __future__ import annotations

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
from support.tiny_transformer import make_transformer

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.models.student import STUDENT_FILES, divide_logits, load_student, save_student, student_predictor
from xtremedistil_ner.pieces.encoder import PieceEncoder


@pytest.mark.parametrize("head", ["projected", "direct"])
def test_a_loaded_student_computes_what_the_saved_one_did(tmp_path, head):
    network = save_tiny_student(tmp_path, head)
    student = load_student(tmp_path)
    batch = ragged_batch([2, 5])
    with torch.no_grad():
        assert torch.equal(student.network(*batch), network(*batch))
    assert not student.network.training
    assert student.scheme == SCHEME
    assert student.encoder.budget == MAX_PIECES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(STUDENT_FILES)


def test_equal_weights_give_equal_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_tiny_student(tmp_path / name, seed=seed)
    first, second, other = ([(tmp_path / name / file).read_bytes() for file in STUDENT_FILES] for name in "abc")
    assert first == second
    assert first != other


def test_a_direct_head_is_saved_without_its_projection(tmp_path):
    network = make_network("direct", with_projection=True)
    save_student(tmp_path, network, make_tokenizer(), SCHEME, lowercase=False, max_pieces=MAX_PIECES)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "projection" in name]
    assert load_student(tmp_path).network.projection is None


def test_a_saved_tokenizer_neither_truncates_nor_pads(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    save_student(tmp_path, make_network(), tokenizer, SCHEME, lowercase=False, max_pieces=MAX_PIECES)
    assert len(load_student(tmp_path).encoder.tokenizer.encode("a b c d e").ids) == 5
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["truncation"] is None
    assert saved["padding"] is None


def test_extra_keys_are_kept_but_never_change_the_model(tmp_path):
    extra = {"distilled_from": "somebody", "hidden_width": 99}
    save_student(tmp_path, make_network(), make_tokenizer(), SCHEME, lowercase=True, max_pieces=9, extra=extra)
    config = load_student(tmp_path).config
    assert config["distilled_from"] == "somebody"
    assert config["hidden_width"] == 7


def lose_a_weight(weights):
    del weights["network.classifier.bias"]


def add_a_weight(weights):
    weights["network.pooler.weight"] = torch.zeros(2)


def cut_a_weight(weights):
    weights["network.embeddings.weight"] = weights["network.embeddings.weight"][1:].clone()


def halve_a_weight(weights):
    weights["network.classifier.weight"] = weights["network.classifier.weight"].half()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_weight, r"network\.classifier\.bias is missing"),
        (add_a_weight, r"network\.pooler\.weight is unexpected"),
        (cut_a_weight, r"network\.embeddings\.weight is \(\d+, 5\), expected \(\d+, 5\)"),
        (halve_a_weight, r"network\.classifier\.weight is torch\.float16"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    save_tiny_student(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_student(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "roberta", "model_type is 'roberta'"),
        ("hidden_width", -1, "hidden_width is -1"),
        ("embedding_width", None, "embedding_width is None"),
        ("head", "other", "head is 'other'"),
        ("dropout", 1.0, "dropout is 1.0"),
        ("max_pieces", "many", "max_pieces is 'many'"),
        ("id2label", {"0": "O", "2": "B-PER"}, "id2label"),
        ("id2label", {"0": "O", "1": "B-PER", "2": "I-LOC"}, "Expected O, B-PER, I-PER"),
        ("id2label", ["O"], "id2label"),
        ("id2label", {"0": "O", "1": "B-PER", "2": "I-PER"}, "classifier"),
    ],
)
def test_a_config_that_describes_no_student_is_refused(tmp_path, key, value, message):
    save_tiny_student(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {key: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_student(tmp_path)


@pytest.mark.parametrize("name", STUDENT_FILES)
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_a_missing_or_truncated_file_is_named(tmp_path, name, damage):
    save_tiny_student(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(ModelError, match="tokenizer" if name.startswith("tokenizer") else name):
        load_student(tmp_path)


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(tmp_path):
    save_tiny_student(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["surplus"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="embeddings"):
        load_student(tmp_path)


@pytest.mark.parametrize("head", ["projected", "direct"])
def test_the_predictor_gives_the_logits_of_first_pieces(head):
    network = make_network(head)
    encoder = PieceEncoder(make_tokenizer(), max_pieces=MAX_PIECES, pad_id=0)
    batch = encoder.collate(encoder.encode([["abc", "d", "ef"], ["g"]]), np.array([0, 1]))
    scores = student_predictor(network)(batch)
    with torch.no_grad():
        logits = network(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)).numpy()
    np.testing.assert_allclose(scores[0], logits[0, [0, 3, 4]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores[1, 0], logits[1, 0], rtol=1e-5, atol=1e-6)
    assert scores.shape == (2, 3, 7)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("training", [True, False])
def test_the_predictor_neither_drops_out_nor_changes_the_mode(training):
    network = make_network().train(training)
    encoder = PieceEncoder(make_tokenizer(), max_pieces=MAX_PIECES, pad_id=0)
    batch = encoder.collate(encoder.encode([["abc", "d"]]), np.array([0]))
    predictor = student_predictor(network)
    assert np.array_equal(predictor(batch), predictor(batch))
    assert network.training is training


def test_the_predictor_takes_rows_without_any_piece():
    encoder = PieceEncoder(make_tokenizer(), max_pieces=MAX_PIECES, pad_id=0)
    encoded = encoder.encode([["\u200b"], ["ab"]])
    predictor = student_predictor(make_network())
    assert predictor(encoder.collate(encoded, np.array([0]))).shape == (1, 1, 7)
    assert np.isfinite(predictor(encoder.collate(encoded, np.array([0, 1])))).all()


@pytest.mark.parametrize("make", [make_network, make_cnn, make_transformer])
def test_divided_logits_are_those_of_the_same_states(make):
    network, batch = make().eval(), ragged_batch([2, 5])
    with torch.no_grad():
        before = network(*batch)
        divide_logits(network, 2.5)
        torch.testing.assert_close(network(*batch), before / 2.5)
