"""Sentences and the splitting of raw text into words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import BertPreTokenizer

from xtremedistil_ner.corpus import words as words_module
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import CorpusError

ANY_TEXT = st.text(st.characters(), max_size=60)  # lone surrogates included


def is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P") or character in "$+<=>^`|~"


def split_slowly(text: str) -> list[tuple[str, int, int]]:
    """BERT's rule, one character at a time."""
    words: list[tuple[str, int, int]] = []
    open_word = False
    for position, character in enumerate(text):
        if character.isspace():
            open_word = False
        elif is_punctuation(character) or not open_word:
            words.append((character, position, position + 1))
            open_word = not is_punctuation(character)
        else:
            word, start, _ = words[-1]
            words[-1] = (word + character, start, position + 1)
    return words


@pytest.mark.parametrize(
    "text", ["Dr. O'Neill's flat-mate (26) left…", "東京 x\u00a0y 🏃🏽‍♀️!", "«Да», — сказал он.", ""]
)
def test_words_are_what_berts_rule_gives_character_by_character(text):
    assert split_words(text) == split_slowly(text)


def test_every_character_separates_or_joins_as_the_tokenizers_library_has_it():
    """Between letters, and beside a hyphen; of letters of large scripts, unassigned and private ones every 64th."""
    splitter = BertPreTokenizer()
    many = {"Lo", "Cn", "Co", "Cs"}
    codes = [code for code in range(0x110000) if not code % 64 or unicodedata.category(chr(code)) not in many]
    characters = [chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF]
    assert len(characters) > 30_000
    for start in range(0, len(characters), 64):
        text = " ".join(f"a{character}b -{character}" for character in characters[start : start + 64])
        assert split_words(text) == [(word, *place) for word, place in splitter.pre_tokenize_str(text)]


def test_what_is_remembered_of_text_is_bounded(monkeypatch):
    monkeypatch.setattr(words_module, "_chunks", {})
    monkeypatch.setattr(words_module, "_MOST_CHUNKS", 10)
    for number in range(100):
        assert split_words(f"a-{number}") == [("a", 0, 1), ("-", 1, 2), (str(number), 2, 2 + len(str(number)))]
        assert split_words("a-" + 50 * str(number))[2][0] == 50 * str(number)
    assert len(words_module._chunks) <= 10
    assert max(map(len, words_module._chunks)) < 10


@given(ANY_TEXT)
def test_words_stand_in_the_text_where_they_say(text):
    clean = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    words = split_words(text)
    assert all(clean[start:end] == word for word, start, end in words)
    covered = "".join(clean[start:end] for _, start, end in words)
    assert covered == "".join(character for character in clean if not is_white_space(character))


def is_white_space(character: str) -> bool:
    """White space of Unicode (property White_Space); Python's `isspace` adds the four separators U+001C to U+001F."""
    return character.isspace() and character not in "\x1c\x1d\x1e\x1f"


def test_a_lone_surrogate_becomes_a_replacement_character_and_keeps_its_place():
    assert split_words("a\ud800b c") == [("a\ufffdb", 0, 3), ("c", 4, 5)]


def test_a_sentence_needs_as_many_tags_as_words():
    with pytest.raises(CorpusError, match="2 words but 1 tags"):
        Sentence("s1", "en", ("a", "b"), ("O",))


def test_a_sentence_has_no_empty_word():
    with pytest.raises(CorpusError, match="s1: word 2 is empty"):
        Sentence("s1", "en", ("a", ""))
