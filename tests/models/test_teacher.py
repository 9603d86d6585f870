"""Teachers: weights, labels and words of any checkpoint, BERT's and XLM-R's."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_teacher import LAYERS, MAX_PIECES, SCHEME, WIDTH, load, save_bert, save_xlm_roberta
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer

from xtremedistil_ner.errors import ModelError, RecipeError
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.teacher import (
    save_teacher,
    start_teacher,
    teacher_predictor,
    teacher_states,
)
from xtremedistil_ner.models.teacher_labels import match_labels
from xtremedistil_ner.pieces.predictor import compute_word_logits
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer

SAVERS = {"bert": save_bert, "xlm-roberta": save_xlm_roberta}
SENTENCES = [["ab", "cde", "a"], ["abcde"], ["e", "d", "zz", "cab"], ["bcd"] * 4]


@pytest.fixture(params=SAVERS)
def save(request):
    return SAVERS[request.param]


def predict(teacher, sentences=SENTENCES, *, dtype=torch.float32):
    predictor = teacher_predictor(teacher, dtype)
    return compute_word_logits(predictor, teacher.encoder, sentences, n_tags=len(SCHEME.tags), batch_pieces=60)


def outputs_of(folder, sentences=SENTENCES):
    """Outputs at every word's first piece, one sentence at a time, by transformers' own tokenizer and model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    rows = []
    for words in sentences:
        encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        word_of = encoded.word_ids()
        with torch.no_grad():
            logits = model(encoded["input_ids"]).logits[0]
        rows += [logits[word_of.index(word)] for word in range(len(words))]
    return torch.stack(rows).numpy(), model.config.id2label


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_word_logits_are_those_of_transformers_at_first_pieces(tmp_path, save):
    folder = save(tmp_path)
    words = predict(load(folder))
    expected, _ = outputs_of(folder)
    assert words.covered.all()
    assert np.allclose(words.logits, expected, atol=1e-4)
    assert words.logits.std() > 0.3


def test_a_sentence_piece_teacher_has_several_pieces_a_word_and_knows_where_each_begins(tmp_path):
    teacher = load(save_xlm_roberta(tmp_path))
    encoded = teacher.encoder.encode([["abcde", "ab", "a"]])
    names = teacher.tokenizer.convert_ids_to_tokens(encoded.pieces.tolist())
    assert names[0] == "<s>"
    assert names[-1] == "</s>"
    assert [names[first][0] for first in encoded.first_piece.tolist()] == ["▁", "▁", "▁"]
    assert sum(name.startswith("▁") for name in names) == 3
    assert len(names) > 5


def test_labels_are_matched_by_name_whatever_their_order(tmp_path, save):
    names = ["I-LOC", "O", "B-PER", "B-LOC", "I-PER"]
    folder = save(tmp_path, tags=names)
    logits = predict(load(folder)).logits
    expected, id2label = outputs_of(folder)
    assert list(id2label.values()) == names
    assert np.allclose(logits, expected[:, [names.index(tag) for tag in SCHEME.tags]], atol=1e-4)


def test_several_outputs_of_one_tag_are_added_as_probabilities(tmp_path, save):
    """With logsumexp, the softmax over tags is the softmax over outputs, summed where the tag is the same."""
    names = ["B-MISC", "O", "B-PER", "I-PER", "I-MISC", "B-LOC", "I-LOC"]
    folder = save(tmp_path, tags=names)
    logits = predict(load(folder, labels={"B-MISC": "O", "I-MISC": "O"})).logits
    outputs, _ = outputs_of(folder)
    probabilities = torch.softmax(torch.from_numpy(outputs), dim=-1)
    expected = torch.stack([probabilities[:, [0, 1, 4]].sum(-1), *(probabilities[:, n] for n in (2, 3, 5, 6))], dim=-1)
    assert torch.allclose(torch.softmax(torch.from_numpy(logits), dim=-1), expected, atol=1e-5)
    assert np.allclose(logits[:, 1:], outputs[:, [2, 3, 5, 6]], atol=1e-4)


def test_foreign_names_can_be_mapped_one_by_one(tmp_path):
    folder = save_bert(tmp_path, tags=[f"LABEL_{index}" for index in range(5)])
    mapping = {f"LABEL_{index}": tag for index, tag in enumerate(SCHEME.tags)}
    assert np.allclose(predict(load(folder, labels=mapping)).logits, outputs_of(folder)[0], atol=1e-4)


def test_labels_that_do_not_match_are_listed_on_both_sides_with_the_option(tmp_path):
    folder = save_bert(tmp_path, tags=["O", "B-PER", "I-PER", "B-MISC", "I-MISC"])
    with pytest.raises(ModelError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "Checkpoint: O, B-PER, I-PER, B-MISC, I-MISC." in message
    assert "Corpus: O, B-PER, I-PER, B-LOC, I-LOC." in message
    assert "Without a match: B-MISC, I-MISC, B-LOC, I-LOC." in message
    assert "teacher.labels" in message


def test_columns_of_matched_labels():
    names = {0: "B-X", 1: "O", 2: "B-LOC", 3: "I-LOC", 4: "I-PER", 5: "B-PER"}
    found = match_labels(names, SCHEME, {"B-X": "O"}, origin="here")
    assert found == ((0, 1), (5,), (4,), (2,), (3,))


INNER_WEIGHT = "bert.encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: weights.pop("classifier.bias"), "classifier.bias"),
        (lambda weights: weights.pop(INNER_WEIGHT), INNER_WEIGHT),
        (lambda weights: weights.update(surplus=torch.zeros(2)), "surplus"),
        (lambda weights: weights.update({"classifier.bias": torch.zeros(9)}), "classifier.bias"),
    ],
)
def test_a_weight_too_few_too_many_or_misshapen_is_refused_by_its_name(tmp_path, change, named):
    folder = save_bert(tmp_path)
    edit_weights(folder, change)
    with pytest.raises(ModelError, match=re.escape(named)):
        load(folder)


def test_half_precision_checkpoints_become_float32(tmp_path, save):
    folder = save(tmp_path)
    edit_weights(folder, lambda weights: weights.update({name: value.half() for name, value in weights.items()}))
    teacher = load(folder)
    assert {parameter.dtype for parameter in teacher.model.parameters()} == {torch.float32}


def test_a_folder_without_a_checkpoint_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="not a checkpoint that transformers can load"):
        load(tmp_path)


def test_windows_may_be_as_long_as_the_positions_allow_and_no_longer(tmp_path, save):
    """XLM-R's positions start behind its padding index: of 42 it can use 40."""
    folder = save(tmp_path)
    teacher = load(folder, max_pieces=40)
    words = predict(teacher, [["abcde"] * 30, ["ab"] * 38])
    assert words.covered.all()
    assert np.isfinite(words.logits).all()
    assert max(teacher.encoder.encode([["ab"] * 60]).piece_lengths()) == 40
    with pytest.raises(RecipeError, match=r"teacher.max_pieces 41: this checkpoint takes at most 40 pieces"):
        load(folder, max_pieces=41)


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(tmp_path):
    folder = save_bert(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["foreign"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="Give the tokenizer that belongs to the checkpoint"):
        load(folder)


def test_padding_and_batches_never_change_a_words_logits(tmp_path, save):
    teacher = load(save(tmp_path))
    result = predict(teacher)
    alone = [predict(teacher, [words]).logits for words in SENTENCES]
    for index, logits in enumerate(alone):
        assert np.allclose(result.logits[result.offsets[index] : result.offsets[index + 1]], logits, atol=1e-4)


@pytest.mark.parametrize("layer", range(LAYERS + 1))
def test_states_are_the_layers_hidden_states_at_first_pieces(tmp_path, save, layer):
    folder = save(tmp_path)
    teacher = load(folder)
    encoded = teacher.encoder.encode(SENTENCES)
    batch = teacher.encoder.collate(encoded, np.arange(encoded.n_rows))
    states = teacher_states(teacher, layer, torch.float32)(batch)
    assert states.shape == (*batch.first_piece.shape, WIDTH)
    assert not states.requires_grad
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for index, words in enumerate(SENTENCES):
        pieces = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(pieces["input_ids"], output_hidden_states=True).hidden_states[layer][0]
        expected = torch.stack([hidden[pieces.word_ids().index(word)] for word in range(len(words))])
        assert torch.allclose(states[index, : len(words)], expected, atol=1e-4)


def test_a_layer_that_the_teacher_lacks_is_a_recipe_error(tmp_path):
    teacher = load(save_bert(tmp_path))
    with pytest.raises(RecipeError, match=r"train.teacher_layer 4: the teacher has layers 0 to 3\."):
        teacher_states(teacher, 4, torch.float32)


@pytest.mark.parametrize("head", [AutoModel, AutoModelForMaskedLM, AutoModelForTokenClassification])
def test_an_encoder_with_any_head_starts_a_teacher_under_a_new_classifier(tmp_path, save, head):
    folder = save(tmp_path / "first", tags=["O", "B-X", "I-X"])
    head.from_pretrained(folder).save_pretrained(folder)
    teacher = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=3)
    again = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=3)
    other = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=4)
    assert teacher.model.classifier.weight.shape == (5, WIDTH)
    assert torch.equal(teacher.model.classifier.weight, again.model.classifier.weight)
    assert not torch.equal(teacher.model.classifier.weight, other.model.classifier.weight)
    encoder = AutoModel.from_pretrained(folder)
    for name, value in teacher.model.base_model.named_parameters():
        assert torch.equal(value, encoder.get_parameter(name)), name


@pytest.mark.parametrize("tags", [SCHEME.tags, ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")])
def test_a_checkpoints_classifier_goes_on_only_if_its_outputs_mean_the_same(tmp_path, save, tags):
    """Of another order, its rows would start as those of other tags."""
    folder = save(tmp_path, tags=tags)
    own = load_file(folder / "model.safetensors")["classifier.weight"]
    started = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=3).model.classifier
    assert torch.equal(started.weight, own) is (tags == SCHEME.tags)
    if tags != SCHEME.tags:
        assert started.weight.abs().max() < 0.2, "as small as a new one"
        assert not started.bias.any()
        again = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=3).model.classifier
        assert torch.equal(started.weight, again.weight)


def test_an_encoder_that_lacks_a_weight_is_refused(tmp_path):
    folder = save_bert(tmp_path)
    edit_weights(folder, lambda weights: weights.pop("bert.encoder.layer.0.output.dense.bias"))
    with pytest.raises(ModelError, match=r"missing \['bert.encoder.layer.0.output.dense.bias'\]"):
        start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=0)


def test_a_teacher_from_scratch_is_itself_again_after_saving(tmp_path):
    tokenizer = wordpiece_tokenizer((*SPECIAL_PIECES, *"abcde"), lowercase=False, special_rows=True)
    sizes = {"layers": 1, "hidden_width": 8, "heads": 2, "dropout": 0.1, "max_pieces": MAX_PIECES}
    teacher = build_teacher(tokenizer, SCHEME, **sizes, seed=5)
    save_teacher(tmp_path, teacher)
    sentences = [["a", "b"], ["c", "zz", "e"]]
    assert np.array_equal(predict(load(tmp_path), sentences).logits, predict(teacher, sentences).logits)


def test_a_checkpoint_that_is_a_pickle_is_refused(tmp_path):
    folder = save_bert(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load(folder)
