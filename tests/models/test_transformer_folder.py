"""A transformer student's folder: a stock BERT to everybody, and read as strictly as a BiLSTM's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_student import MAX_PIECES, SCHEME, ragged_batch
from support.tiny_transformer import SHAPE, make_special_tokenizer, make_transformer, save_tiny_transformer
from transformers import AutoModelForTokenClassification, AutoTokenizer

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.evaluation.open_model import open_model
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.models.student import load_student, save_student, student_files, student_predictor
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import compute_word_logits
from xtremedistil_ner.tagging.tagger import Tagger

TEXT = "Abc de, fGh \u200b [CLS] a.b äöx 中日"
WORDS = [["abc", "d", "ef"], ["g"], ["ab"] * 40, ["\u200b"]]


def logits_of(network, batch):
    with torch.no_grad():
        return network(*batch)


def test_a_loaded_student_computes_what_the_saved_one_did(tmp_path):
    network = save_tiny_transformer(tmp_path)
    student = load_student(tmp_path)
    assert torch.equal(logits_of(student.network, ragged_batch([2, 5])), logits_of(network, ragged_batch([2, 5])))
    assert not student.network.training
    assert student.network.shape == SHAPE
    assert student.scheme == SCHEME
    assert student.encoder.budget == MAX_PIECES - 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(student_files(network))


STOCK = """
import json, sys
import torch
from transformers import AutoModelForTokenClassification, pipeline

folder = sys.argv[1]
model, loading = AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
tagger = pipeline("token-classification", model=folder, ignore_labels=[])
found = {
    "type": type(model).__name__,
    "loading": {name: len(keys) for name, keys in loading.items()},
    "logits": model(torch.tensor([[2, 7, 9, 3]])).logits.tolist(),
    "entities": [entity["entity"] for entity in tagger("Abc de.")],
    "ours": [name for name in sys.modules if name.startswith("xtremedistil_ner")],
}
print(json.dumps(found))
"""


def test_transformers_loads_it_with_nothing_of_ours(tmp_path):
    network = save_tiny_transformer(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(tmp_path)],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    found = json.loads(done.stdout)
    assert found["type"] == "BertForTokenClassification"
    assert not any(found["loading"].values())
    assert found["ours"] == []
    batch = torch.tensor([[2, 7, 9, 3]]), torch.ones(1, 4, dtype=torch.int64)
    np.testing.assert_allclose(found["logits"], logits_of(network, batch), atol=1e-6)
    assert len(found["entities"]) == len(make_special_tokenizer().encode("Abc de.").ids) - 2
    assert set(found["entities"]) <= set(SCHEME.tags)


def test_the_projection_is_never_saved_and_changes_no_weight(tmp_path):
    for name, width in (("with", 11), ("without", None)):
        network = make_transformer(representation_width=width)
        network.model.load_state_dict(make_transformer().model.state_dict())
        options = {"lowercase": False, "max_pieces": MAX_PIECES}
        save_student(tmp_path / name, network, make_special_tokenizer(), SCHEME, **options)
    for name in student_files(network):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name
    assert load_student(tmp_path / "with").network.projection is None


def test_auto_tokenizer_and_vocabulary_file_make_the_pieces_of_the_folders_tokenizer(tmp_path):
    save_tiny_transformer(tmp_path)
    expected = make_special_tokenizer().encode(TEXT).ids
    assert AutoTokenizer.from_pretrained(tmp_path)(TEXT)["input_ids"] == expected
    (tmp_path / "tokenizer.json").unlink()
    assert AutoTokenizer.from_pretrained(tmp_path)(TEXT)["input_ids"] == expected


def test_what_transformers_saves_is_a_student(tmp_path):
    network = save_tiny_transformer(tmp_path / "first")
    AutoModelForTokenClassification.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    AutoTokenizer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    student = load_student(tmp_path / "second")
    assert student.encoder.budget == MAX_PIECES - 2
    batch = ragged_batch([2, 5])
    assert torch.equal(logits_of(student.network, batch), logits_of(network, batch))


def lose_a_weight(weights):
    del weights["bert.encoder.layer.1.output.dense.bias"]


def add_a_weight(weights):
    weights["bert.pooler.dense.weight"] = torch.zeros(2)


def cut_a_weight(weights):
    weights["classifier.weight"] = weights["classifier.weight"][1:].clone()


def halve_a_weight(weights):
    weights["classifier.weight"] = weights["classifier.weight"].half()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_weight, r"bert\.encoder\.layer\.1\.output\.dense\.bias is missing"),
        (add_a_weight, r"bert\.pooler\.dense\.weight is unexpected"),
        (cut_a_weight, r"classifier\.weight is \(6, 12\), expected \(7, 12\)"),
        (halve_a_weight, r"classifier\.weight is torch\.float16"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    save_tiny_transformer(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_student(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_hidden_layers", 0, "num_hidden_layers is 0"),
        ("hidden_size", None, "hidden_size is None"),
        ("num_attention_heads", 5, "12 units for 5 heads"),
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("max_pieces", MAX_PIECES + 1, f"a number from 1 to {MAX_PIECES}"),
        ("max_pieces", None, f"a number from 1 to {MAX_PIECES}"),
    ],
)
def test_a_config_that_describes_no_student_is_refused(tmp_path, key, value, message):
    save_tiny_transformer(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {key: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_student(tmp_path)


def test_the_predictor_gives_the_logits_of_first_pieces_behind_cls():
    network = make_transformer()
    encoder = PieceEncoder(make_special_tokenizer(), max_pieces=MAX_PIECES, pad_id=0)
    batch = encoder.collate(encoder.encode([["abc", "d", "ef"], ["g"]]), np.array([0, 1]))
    assert batch.input_ids[1].tolist()[:3] == [2, encoder.tokenizer.token_to_id("g"), 3]
    logits = logits_of(network, (torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask))).numpy()
    scores = student_predictor(network)(batch)
    np.testing.assert_allclose(scores[0], logits[0, [1, 4, 5]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores[1, 0], logits[1, 1], rtol=1e-5, atol=1e-6)


def test_evaluation_takes_it_for_a_student_and_reads_in_its_windows(tmp_path):
    """A BERT teacher has the same model_type; a teacher's window of 128 pieces has no positions here."""
    network = save_tiny_transformer(tmp_path)
    opened = open_model(tmp_path)
    words = opened.word_logits(WORDS, None)
    encoder = load_student(tmp_path).encoder
    expected = compute_word_logits(student_predictor(network), encoder, WORDS, n_tags=7, batch_pieces=100).logits
    np.testing.assert_allclose(words.logits, expected, atol=1e-5)
    assert words.covered.sum() == 44
    assert opened.parameters == sum(weight.numel() for weight in make_transformer().model.parameters())


def test_the_exports_tagger_agrees_with_torch_on_words_in_windows(tmp_path):
    network = save_tiny_transformer(tmp_path / "student")
    (tmp_path / "export").mkdir()
    write_export(tmp_path / "student", tmp_path / "export", report=None, licence="other", recipe_name="tiny")
    tagger = Tagger.from_pretrained(tmp_path / "export")
    by_torch = Tagger(student_predictor(network), load_student(tmp_path / "student").encoder, SCHEME)
    assert tagger.tag_words(WORDS) == by_torch.tag_words(WORDS)
    assert len({tag for tags in tagger.tag_words(WORDS) for tag in tags}) > 2
    assert tagger.tag([TEXT, ""])[0]
    assert open_model(tmp_path / "export").parameters == open_model(tmp_path / "student").parameters
    assert (tmp_path / "export" / "vocab.txt").read_bytes() == (tmp_path / "student" / "vocab.txt").read_bytes()
