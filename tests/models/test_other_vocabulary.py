"""An encoder under another vocabulary: what it keeps, what it starts from, and that it can be trained and saved."""

from __future__ import annotations

import pytest
import torch
from support.tiny_teacher import BERT_PIECES, MAX_PIECES, SCHEME, WIDTH, save_bert, save_xlm_roberta
from transformers import BertConfig, BertForMaskedLM

from xtremedistil_ner.distillation.masked_language_model import masked_language_model
from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.other_vocabulary import with_vocabulary
from xtremedistil_ner.models.teacher import load_teacher, piece_embeddings, save_teacher, start_teacher
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer

PIECES = (*reversed(SPECIAL_PIECES), "a", "ab", "abcd", "ж", "я", "##b")


@pytest.fixture
def folder(tmp_path):
    return save_bert(tmp_path / "bert")


def moved(folder):
    teacher = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=0)
    tokenizer = wordpiece_tokenizer(PIECES, lowercase=False, special_rows=True)
    return piece_embeddings(teacher), with_vocabulary(teacher, tokenizer, max_pieces=MAX_PIECES, seed=0)


def test_rows_are_those_of_the_old_pieces(folder):
    old, teacher = moved(folder)
    new = dict(zip(PIECES, piece_embeddings(teacher), strict=True))
    row = {piece: old[index] for index, piece in enumerate(BERT_PIECES)}
    for piece in (*SPECIAL_PIECES, "a", "ab", "##b"):
        assert torch.equal(new[piece], row[piece]), piece
    torch.testing.assert_close(new["abcd"], (row["ab"] + row["##cd"]) / 2)
    assert not torch.equal(new["ж"], new["я"])  # nothing is known of either, and equal rows would learn alike
    assert (new["ж"] - old.mean(dim=0)).abs().max() < 6 * old.std(dim=0).max()


def test_layers_stay_and_the_whole_is_saved_and_loaded(folder, tmp_path):
    _, teacher = moved(folder)
    before = start_teacher(folder, SCHEME, max_pieces=MAX_PIECES, seed=0).model.state_dict()
    for name, weight in teacher.model.state_dict().items():
        assert torch.equal(weight, before[name]) or "word_embeddings" in name
    save_teacher(tmp_path / "saved", teacher)
    loaded = load_teacher(tmp_path / "saved", SCHEME, labels={}, max_pieces=MAX_PIECES)
    assert loaded.encoder.tokenizer.encode(["abж"], is_pretokenized=True).tokens == ["[CLS]", "[UNK]", "[SEP]"]
    assert torch.equal(piece_embeddings(loaded), piece_embeddings(teacher))
    assert loaded.model.config.pad_token_id == PIECES.index("[PAD]")


def test_its_masked_language_model_reads_the_new_pieces_and_shares_them(folder):
    _, teacher = moved(folder)
    model = masked_language_model(teacher, origin=str(folder), revision=None, seed=0, has_new_pieces=True)
    logits = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert logits.shape == (1, 3, len(PIECES))
    logits.sum().backward()
    shared = teacher.model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is shared
    assert shared.grad.shape == (len(PIECES), WIDTH)


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("n_more", [0, 7])
def test_the_output_layer_knows_nothing_of_the_old_pieces(tmp_path, is_tied, n_more):
    """Neither their bias nor their rows, also where both vocabularies have the same size."""
    config = BertConfig.from_pretrained(save_bert(tmp_path / "bert"), tie_word_embeddings=is_tied)
    whole = BertForMaskedLM(config)
    torch.nn.init.normal_(whole.cls.predictions.bias)
    whole.save_pretrained(tmp_path / "bert")
    n_pieces = len(BERT_PIECES) + n_more
    pieces = (*PIECES, *map(str, range(n_pieces - len(PIECES))))
    teacher = with_vocabulary(
        start_teacher(tmp_path / "bert", SCHEME, max_pieces=MAX_PIECES, seed=0),
        wordpiece_tokenizer(pieces, lowercase=False, special_rows=True),
        max_pieces=MAX_PIECES,
        seed=0,
    )
    model = masked_language_model(teacher, origin=str(tmp_path / "bert"), revision=None, seed=0, has_new_pieces=True)
    decoder, head = model.get_output_embeddings(), model.cls.predictions.transform.dense
    assert (decoder.weight is teacher.model.get_input_embeddings().weight) == is_tied
    assert torch.equal(decoder.weight, piece_embeddings(teacher))
    assert torch.equal(decoder.bias, torch.zeros(n_pieces))
    assert torch.equal(head.weight, whole.cls.predictions.transform.dense.weight), "it knows no pieces"


def test_a_family_that_counts_positions_from_its_padding_is_refused(tmp_path):
    teacher = start_teacher(save_xlm_roberta(tmp_path / "xlmr"), SCHEME, max_pieces=MAX_PIECES, seed=0)
    tokenizer = wordpiece_tokenizer(PIECES, lowercase=False, special_rows=True)
    with pytest.raises(RecipeError, match="xlm-roberta counts positions"):
        with_vocabulary(teacher, tokenizer, max_pieces=MAX_PIECES, seed=0)
