"""Words to pieces and back: windows lose nothing, padding changes nothing, positions are transformers' own."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_student import SCHEME, VOCABULARY, make_network
from transformers import PreTrainedTokenizerFast

from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.student import student_predictor
from xtremedistil_ner.models.teacher import teacher_predictor
from xtremedistil_ner.pieces.encoder import PieceEncoder, load_encoder, ragged_index
from xtremedistil_ner.pieces.predictor import compute_word_logits, plan_batches
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer

N_TAGS = len(SCHEME.tags)
ZERO_WIDTH = "\u200b"

words = st.one_of(
    st.text("abcXYäé中日.!☃", min_size=1, max_size=5),
    st.sampled_from([ZERO_WIDTH, "\u00ad", "a" * 40, "x" * 101, "[MASK]", "[PAD]", "New\u00a0York", "\ufffd", " "]),
)
texts = st.lists(st.lists(words, max_size=30), max_size=4)


def make_encoder(max_pieces, *, special_rows=False):
    tokenizer = wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=special_rows)
    return PieceEncoder(tokenizer, max_pieces=max_pieces, pad_id=0)


def pieces_per_word(sentence):
    """Pieces of each word, the word encoded on its own."""
    tokenizer = wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=False)
    return [len(tokenizer.encode([word], is_pretokenized=True).ids) for word in sentence]


def rank_predictor(batch):
    """Logits that say which word of its row a word is, and where its first piece lies: (batch, words, 3)."""
    rank = np.broadcast_to(np.arange(batch.first_piece.shape[1]), batch.first_piece.shape)
    return np.stack([batch.rows[:, None] + 0 * rank, rank, batch.first_piece], axis=-1).astype(np.float32)


@given(texts, st.integers(3, 40), st.booleans())
@settings(deadline=None)
def test_windows_keep_every_word_exactly_once(text, max_pieces, special_rows):
    encoded = make_encoder(max_pieces, special_rows=special_rows).encode(text)
    kept = []
    for row in range(encoded.n_rows):
        start, stop = encoded.word_offsets[row], encoded.word_offsets[row + 1]
        in_sentence = encoded.first_word[row] + np.flatnonzero(encoded.kept[start:stop])
        kept += [(int(encoded.sentence[row]), int(word)) for word in in_sentence]
    assert sorted(kept) == [(s, w) for s, sentence in enumerate(text) for w in range(len(sentence))]
    assert encoded.n_words == sum(map(len, text))


@given(texts, st.integers(3, 40), st.booleans())
@settings(deadline=None)
def test_no_window_is_longer_than_the_limit(text, max_pieces, special_rows):
    encoded = make_encoder(max_pieces, special_rows=special_rows).encode(text)
    assert encoded.piece_lengths().max(initial=0) <= max_pieces


@given(texts, st.integers(3, 40))
@settings(deadline=None)
def test_a_word_that_has_a_piece_is_scored_and_one_without_is_counted(text, max_pieces):
    words = compute_word_logits(rank_predictor, make_encoder(max_pieces), text, n_tags=3, batch_pieces=64)
    expected = [count > 0 for sentence in text for count in pieces_per_word(sentence)]
    assert words.covered.tolist() == expected
    assert words.offsets.tolist() == np.cumsum([0, *map(len, text)]).tolist()
    assert (words.logits[~words.covered] == [0.0, -1e4, -1e4]).all()


def test_a_word_longer_than_a_window_is_scored_by_its_beginning():
    encoder = make_encoder(8)
    text = [["a", "b" * 50, "c"]]
    covered = compute_word_logits(rank_predictor, encoder, text, n_tags=3, batch_pieces=64).covered
    assert covered.all()


def test_a_word_is_scored_where_it_has_context_on_both_sides():
    text = [["a"] * 200]
    encoder = make_encoder(40)
    logits = compute_word_logits(rank_predictor, encoder, text, n_tags=3, batch_pieces=400).logits
    encoded = encoder.encode(text)
    assert encoded.n_rows > 5
    lengths = encoded.piece_lengths()
    for word in range(10, 190):
        row, position = int(logits[word, 0]), int(logits[word, 2])
        assert 5 <= position < lengths[row] - 4


def test_a_thousand_words_without_a_piece_make_one_row():
    encoded = make_encoder(8).encode([[ZERO_WIDTH] * 1000])
    assert (encoded.n_rows, encoded.n_words) == (1, 1000)


def test_an_empty_text_and_an_empty_sentence_have_no_rows():
    for text in ([], [[]], [[], []]):
        words = compute_word_logits(rank_predictor, make_encoder(8), text, n_tags=3, batch_pieces=64)
        assert (words.logits.shape, words.covered.shape, len(words.offsets)) == ((0, 3), (0,), len(text) + 1)


@pytest.fixture(params=["teacher", "student"])
def model(request):
    """A predictor of a tiny real model and its encoder."""
    if request.param == "student":
        return student_predictor(make_network()), make_encoder(24)
    teacher = build_teacher(
        wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=True),
        SCHEME,
        layers=2,
        hidden_width=8,
        heads=2,
        dropout=0.1,
        max_pieces=24,
        seed=3,
    )
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return teacher_predictor(teacher, torch.float32), teacher.encoder


TEXT = [["ab", "c"], ["Xä", "中", ".", "abc"] * 9, ["a"], [ZERO_WIDTH], ["x", ZERO_WIDTH, "y" * 7], [], ["b"] * 11]


def test_padding_never_changes_a_words_logits(model):
    predictor, encoder = model
    alone = np.concatenate(
        [compute_word_logits(predictor, encoder, [sentence], n_tags=N_TAGS, batch_pieces=1).logits for sentence in TEXT]
    )
    words = compute_word_logits(predictor, encoder, TEXT, n_tags=N_TAGS, batch_pieces=10**6)
    np.testing.assert_allclose(words.logits, alone, rtol=1e-4, atol=1e-4)
    assert np.ptp(words.logits[words.covered], axis=0).min() > 0.1, (
        "the model answers the same everywhere: nothing is tested"
    )


def test_the_order_of_sentences_never_changes_a_words_logits(model):
    predictor, encoder = model
    words = compute_word_logits(predictor, encoder, TEXT, n_tags=N_TAGS, batch_pieces=40)
    backward = compute_word_logits(predictor, encoder, TEXT[::-1], n_tags=N_TAGS, batch_pieces=40).logits
    turned = np.concatenate(np.split(words.logits, words.offsets[1:-1])[::-1])
    np.testing.assert_allclose(backward, turned, rtol=1e-4, atol=1e-4)


@given(st.lists(words, min_size=1, max_size=20))
@settings(deadline=None)
def test_word_positions_are_those_of_transformers(sentence):
    encoder = make_encoder(10**6, special_rows=True)
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=True), pad_token="[PAD]"
    )(sentence, is_split_into_words=True)
    encoded = encoder.encode([sentence])
    assert encoded.pieces.tolist() == theirs["input_ids"]
    word_ids = theirs.word_ids()
    first = [word_ids.index(word) if word in word_ids else -1 for word in range(len(sentence))]
    assert encoded.first_piece.tolist() == first


def test_lone_surrogates_do_not_raise_and_keep_their_place():
    encoder = make_encoder(24)
    text = [["a", "b\ud800", "c"], ["\udfff"], ["d"]]
    words = compute_word_logits(rank_predictor, encoder, text, n_tags=3, batch_pieces=64)
    assert words.covered.all()
    assert words.logits[:, 1].tolist() == [0, 1, 2, 0, 0]
    clean = encoder.encode([["a", "c"]])
    np.testing.assert_array_equal(encoder.encode([["a", "c"], ["\ud800"]]).pieces[:2], clean.pieces)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 6)), max_size=12))
def test_a_ragged_index_is_the_ranges_one_after_the_other(ranges):
    starts, counts = [start for start, _ in ranges], [count for _, count in ranges]
    expected = [number for start, count in ranges for number in range(start, start + count)]
    found = ragged_index(np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64))
    assert found.tolist() == expected
    assert found.dtype == np.int64


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_and_stay_within_the_budget(lengths, budget):
    batches = plan_batches(np.array(lengths, dtype=np.int64), batch_pieces=budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
    in_order = [lengths[row] for batch in batches for row in batch]
    assert in_order == sorted(lengths)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=60), st.integers(1, 200))
def test_a_batch_ends_only_where_one_row_more_would_break_the_budget(lengths, budget):
    batches = plan_batches(np.array(lengths, dtype=np.int64), batch_pieces=budget)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget


@given(texts, st.integers(3, 12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_predicted_positions_follow_the_mask_in_any_batch(text, max_pieces, random):
    encoder = make_encoder(max_pieces)
    encoded = encoder.encode(text)
    rows = list(range(encoded.n_rows))
    random.shuffle(rows)
    found = []
    for start in range(0, len(rows), 3):
        batch = encoder.collate(encoded, np.array(rows[start : start + 3]))
        positions = encoded.predicted_positions(batch)
        assert len(positions) == batch.word_mask.sum()
        assert batch.word_mask.sum(axis=1).tolist() == encoded.predicted_words()[batch.rows].tolist()
        found += positions.tolist()
    with_piece = np.flatnonzero([count > 0 for sentence in text for count in pieces_per_word(sentence)])
    assert sorted(found) == with_piece.tolist()


def test_a_limit_without_room_for_a_piece_is_refused():
    with pytest.raises(UsageError, match="max_pieces 2"):
        make_encoder(2, special_rows=True)


def test_a_folder_without_a_readable_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_encoder(tmp_path, max_pieces=24)
    wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=False).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}), encoding="utf-8")
    with pytest.raises(ModelError, match="no padding piece"):
        load_encoder(tmp_path, max_pieces=24)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}), encoding="utf-8")
    assert load_encoder(tmp_path, max_pieces=24).pad_id == 0
