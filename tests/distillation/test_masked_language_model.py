"""Masked-language-model training of a teacher's encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.tiny_teacher import BERT_PIECES, MAX_PIECES, load, save_bert, save_xlm_roberta
from transformers import BertForMaskedLM

from xtremedistil_ner.distillation.masked_language_model import masked_language_model, masked_source
from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.training.sampling import BatchPlan

SENTENCES = [["ab", "cde", "a"], ["abcde"] * 2, ["a"], ["bcd", "e"] * 3, ["zz", "abcd", "de", "ea"], ["abc"] * 20]
SAVERS = {"bert": save_bert, "xlm-roberta": save_xlm_roberta}


@pytest.fixture(params=SAVERS)
def teacher(request, tmp_path):
    return load(SAVERS[request.param](tmp_path))


def source_of(model, teacher, *, probability=0.15, sentences=SENTENCES):
    encoded = teacher.encoder.encode(sentences)
    plan = BatchPlan(encoded.piece_lengths(), batch=4, seed=0)
    return masked_source(model, teacher, encoded, plan=plan, probability=probability), encoded


def inputs_of(model, source, rows, *, seed=1):
    """What the encoder reads for some rows, and their loss."""
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    torch.manual_seed(seed)
    loss = source.loss(rows)
    hook.remove()
    return seen[0].numpy(), loss


def test_the_encoder_is_the_teachers_own_weight_by_weight(teacher):
    model = masked_language_model(teacher, origin=None, revision=None, seed=0)
    shared = dict(model.base_model.named_parameters())
    own = dict(teacher.model.base_model.named_parameters())
    assert shared.keys() == own.keys()
    assert all(shared[name] is own[name] for name in own)


def test_the_decoder_is_tied_to_the_teachers_embeddings(teacher):
    model = masked_language_model(teacher, origin=None, revision=None, seed=0)
    decoder, embeddings = model.get_output_embeddings().weight, teacher.model.get_input_embeddings().weight
    assert decoder is embeddings
    assert decoder.data_ptr() == embeddings.data_ptr()


def test_a_step_moves_the_teachers_encoder_and_leaves_its_classifier_alone(teacher):
    model = masked_language_model(teacher, origin=None, revision=None, seed=0)
    source, encoded = source_of(model, teacher)
    before = {name: value.detach().clone() for name, value in teacher.model.named_parameters()}
    source.loss(np.arange(encoded.n_rows)).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    still = {name for name, value in teacher.model.named_parameters() if torch.equal(value, before[name])}
    assert {name for name in still if name.startswith("classifier")} == {"classifier.weight", "classifier.bias"}
    assert not any("query.weight" in name or "word_embeddings" in name for name in still)


@pytest.mark.parametrize("probability", [0.15, 0.5])
def test_the_number_of_masked_pieces_of_a_row_is_fixed(teacher, probability):
    source, encoded = source_of(
        masked_language_model(teacher, origin=None, revision=None, seed=0), teacher, probability=probability
    )
    inner = [len(row) - 2 for row in np.split(encoded.pieces, encoded.piece_offsets[1:-1])]
    assert source.words.tolist() == [max(1, round(probability * n)) for n in inner]
    assert max(inner) == MAX_PIECES - 2


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_summed_over_exactly_that_many_pieces(teacher, seed):
    """With all embeddings, and with them the decoder, at zero, every masked piece costs ln(vocabulary)."""
    model = masked_language_model(teacher, origin=None, revision=None, seed=0).eval()
    source, encoded = source_of(model, teacher, probability=0.3)
    with torch.no_grad():
        teacher.model.get_input_embeddings().weight.zero_()
        model.get_output_embeddings().bias.zero_()
    rows = np.random.default_rng(seed).permutation(encoded.n_rows)[:5]
    _, loss = inputs_of(model, source, rows, seed=seed)
    expected = source.words[rows].sum() * math.log(model.config.vocab_size)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_special_pieces_and_padding_are_never_masked(teacher):
    model = masked_language_model(teacher, origin=None, revision=None, seed=0)
    source, encoded = source_of(model, teacher, probability=0.9)
    rows = np.arange(encoded.n_rows)
    batch = teacher.encoder.collate(encoded, rows)
    special = np.isin(batch.input_ids, [*teacher.encoder.prefix, *teacher.encoder.suffix])
    keep = special | (batch.attention_mask == 0)
    assert special.sum() == 2 * encoded.n_rows
    for seed in range(10):
        inputs, _ = inputs_of(model, source, rows, seed=seed)
        assert np.array_equal(inputs[keep], batch.input_ids[keep])


def test_which_pieces_are_masked_follows_the_seed(teacher):
    model = masked_language_model(teacher, origin=None, revision=None, seed=0)
    source, encoded = source_of(model, teacher)
    rows = np.arange(encoded.n_rows)
    first, again, other = (inputs_of(model, source, rows, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_eight_of_ten_become_the_mask_and_one_a_random_piece(tmp_path):
    """2,800 masked pieces: shares within five standard deviations of 0.8 and of 0.1 less the chance of the same."""
    teacher = load(save_bert(tmp_path))
    model = masked_language_model(teacher, origin=None, revision=None, seed=0)
    source, encoded = source_of(model, teacher, probability=0.5, sentences=[["abcd"] * 7] * 400)
    rows = np.arange(encoded.n_rows)
    original = teacher.encoder.collate(encoded, rows).input_ids
    inputs, _ = inputs_of(model, source, rows)
    masked = inputs == teacher.tokenizer.mask_token_id
    assert source.words.sum() == 2800
    assert masked.sum() / 2800 == pytest.approx(0.8, abs=0.04)
    changed = (inputs != original) & ~masked
    assert changed.sum() / 2800 == pytest.approx(0.1 * (1 - 1 / len(BERT_PIECES)), abs=0.03)
    assert len(np.unique(inputs[changed])) > 30


def test_a_sentence_without_pieces_counts_nothing(teacher):
    source, _ = source_of(
        masked_language_model(teacher, origin=None, revision=None, seed=0), teacher, sentences=[["\u200b"], ["ab"]]
    )
    assert source.words.tolist()[-1] == 1
    assert source.loss(np.array([0, 1])).isfinite()


def test_an_architecture_without_a_masked_language_model_is_a_model_error(tmp_path):
    teacher = load(save_bert(tmp_path / "bert"))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    with pytest.raises(ModelError, match="not a checkpoint that transformers can load"):
        masked_language_model(teacher, origin=str(tmp_path), revision=None, seed=0)


def test_continued_training_starts_from_the_checkpoints_own_head(tmp_path):
    teacher = load(save_bert(tmp_path / "classifier"))
    torch.manual_seed(3)
    whole = BertForMaskedLM(teacher.model.config)
    whole.save_pretrained(tmp_path / "encoder")
    model = masked_language_model(teacher, origin=str(tmp_path / "encoder"), revision=None, seed=0)
    assert torch.equal(model.cls.predictions.transform.dense.weight, whole.cls.predictions.transform.dense.weight)
    assert model.base_model is teacher.model.base_model
    again = masked_language_model(teacher, origin=str(tmp_path / "classifier"), revision=None, seed=7)
    other = masked_language_model(teacher, origin=str(tmp_path / "classifier"), revision=None, seed=7)
    head = [found.cls.predictions.transform.dense.weight for found in (again, other)]
    assert torch.equal(*head), "a head that the checkpoint lacks follows from the seed"
