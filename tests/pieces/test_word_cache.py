"""Words to piece ids: as the tokenizer has them in any company, and never more remembered than is said."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_student import VOCABULARY
from tokenizers import Tokenizer, models, pre_tokenizers

from xtremedistil_ner.pieces import word_cache
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer
from xtremedistil_ner.pieces.word_cache import WordPieces

WORDS = st.one_of(
    st.text("abcXYäé中日.!☃ ", max_size=5),
    st.sampled_from(
        ["\u200b", "\u00ad", "a" * 40, "x" * 101, "[MASK]", "New\u00a0York", "\ufffd", "a\ud800b", "b" * 500]
    ),
)


def tokenizers() -> dict[str, Tokenizer]:
    """WordPiece, and two that mark where a word begins: a SentencePiece model's way and GPT-2's."""
    letters = [(letter, -1.0) for letter in ["▁", "<unk>", *"abcXYäé.!"]]
    unigram = Tokenizer(models.Unigram([*letters, ("▁a", -0.5), ("ab", -0.7)], unk_id=1))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_of = Tokenizer(models.BPE(alphabet, []))
    bytes_of.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return {
        "wordpiece": wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=True),
        "a": unigram,
        "b": bytes_of,
    }


@pytest.mark.parametrize("kind", ["wordpiece", "a", "b"])
@given(st.lists(WORDS, max_size=12))
@settings(deadline=None, max_examples=60)
def test_pieces_are_those_of_the_whole_sentence(kind, words):
    tokenizer = tokenizers()[kind]
    clean = [word.encode("utf-8", "replace").decode("utf-8") for word in words]
    encoding = tokenizer.encode(clean, is_pretokenized=True, add_special_tokens=False)
    remembered = WordPieces(tokenizer)
    for _ in range(2):
        pieces, counts = remembered.look_up(words)
        assert pieces.tolist() == encoding.ids
        assert counts.tolist() == [encoding.word_ids.count(number) for number in range(len(words))]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(word_cache, "_MOST_WORDS", 10)
    tokenizer = wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=False)
    remembered = WordPieces(tokenizer)
    for number in range(0, 60, 3):
        words = [str(number), f"a{number}", f"b{number}", "c" * 10_000]
        expected = tokenizer.encode(words, is_pretokenized=True).ids
        assert remembered.look_up(words)[0].tolist() == expected
    assert 0 < len(remembered._known) <= 10
    assert sum(map(sys.getsizeof, remembered._known)) < 2_000


def test_threads_share_what_is_remembered(monkeypatch):
    monkeypatch.setattr(word_cache, "_MOST_WORDS", 50)
    tokenizer = wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=False)
    remembered = WordPieces(tokenizer)
    asked = [[f"{letter}{number % 70}" for letter in "abcXY"] for number in range(500)]
    expected = [tokenizer.encode(words, is_pretokenized=True).ids for words in asked]
    with ThreadPoolExecutor(4) as pool:
        found = [pieces.tolist() for pieces, _ in pool.map(remembered.look_up, asked)]
    assert found == expected
    assert np.all(remembered.look_up(["a"])[1] == 1)
