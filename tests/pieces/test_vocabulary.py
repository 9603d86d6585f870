"""Vocabularies: pruning keeps how text is cut into pieces, learning gives the same vocabulary every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_student import VOCABULARY

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.pieces.vocabulary import (
    SPECIAL_PIECES,
    prune_vocabulary,
    read_vocabulary,
    train_vocabulary,
    wordpiece_tokenizer,
)

FULL = [*VOCABULARY, "##ab", "ab", "abc", "##bc", "日本", "the", "##the", "[unused1]"]
TEXT = [["the", "abc", "cab"], ["日本", "Zäb", "\u200b"], ["don't", "q☃"]]

words = st.text("abcthe日本Zä☃\u200b'", min_size=1, max_size=8)
texts = st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=6)


def cut(vocabulary, text, *, lowercase=False):
    tokenizer = wordpiece_tokenizer(vocabulary, lowercase=lowercase, special_rows=False)
    return [tokenizer.encode(sentence, is_pretokenized=True).tokens for sentence in text]


@given(texts, st.booleans())
@settings(deadline=None)
def test_a_pruned_vocabulary_cuts_its_text_as_the_full_one_does(text, lowercase):
    pruned = prune_vocabulary(FULL, [text[:1], text[1:]], lowercase=lowercase, min_count=1)
    assert cut(pruned, text, lowercase=lowercase) == cut(FULL, text, lowercase=lowercase)


@given(texts)
@settings(deadline=None)
def test_a_pruned_vocabulary_has_the_special_pieces_and_what_occurs_in_the_old_order(text):
    pruned = prune_vocabulary(FULL, [text], lowercase=False, min_count=1)
    occurring = {piece for sentence in cut(FULL, text) for piece in sentence}
    assert pruned[: len(SPECIAL_PIECES)] == SPECIAL_PIECES
    assert list(pruned[len(SPECIAL_PIECES) :]) == [p for p in FULL if p in occurring and p not in SPECIAL_PIECES]


def test_padding_is_piece_0_after_pruning_wherever_it_was():
    moved = [*FULL[5:], *SPECIAL_PIECES]
    pruned = prune_vocabulary(moved, [TEXT], lowercase=False, min_count=1)
    assert pruned[0] == "[PAD]"
    assert cut(pruned, TEXT) == cut(moved, TEXT)


TRAIN = """
import sys
from xtremedistil_ner.pieces.vocabulary import train_vocabulary
text = [[f"w{i % 37}a{i % 11}", "Paris", "Åre", "日本語"] for i in range(400)]
pieces = train_vocabulary(lambda: [text[:200], text[200:]], size=90, lowercase=False)
sys.stdout.buffer.write("\\n".join(pieces).encode())
"""


def test_a_learnt_vocabulary_is_the_same_in_every_process():
    runs = {
        subprocess.run(
            [sys.executable, "-c", TRAIN],
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "PATH": ""},
        ).stdout
        for seed, threads in (("1", "1"), ("2", "1"), ("3", "4"))
    }
    assert len(runs) == 1
    pieces = runs.pop().decode().split("\n")
    assert tuple(pieces[:5]) == SPECIAL_PIECES
    assert len(pieces) == len(set(pieces)) <= 90


def test_a_learnt_vocabulary_covers_the_letters_of_its_text():
    pieces = train_vocabulary(lambda: [TEXT], size=200, lowercase=False)
    assert not any("[UNK]" in sentence for sentence in cut(pieces, TEXT))


def test_a_vocabulary_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n[UNK]\n\u2028\na\u0085\n".encode())
    assert read_vocabulary(path) == ("[PAD]", "[UNK]", "\u2028", "a\u0085")


def test_a_vocabulary_without_its_special_pieces_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no \[PAD\], \[UNK\]\."):
        wordpiece_tokenizer(["a", "b"], lowercase=False, special_rows=False)
    with pytest.raises(ModelError, match="not a readable vocabulary"):
        read_vocabulary(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"[PAD]\n\xff\n")
    with pytest.raises(ModelError, match="not a readable vocabulary"):
        read_vocabulary(tmp_path / "latin.txt")


def test_a_piece_that_stands_twice_is_refused_because_ids_are_line_numbers(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\nb\na\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab\.txt: it has 'a' 2 times"):
        read_vocabulary(tmp_path / "vocab.txt")


def test_rows_of_a_transformer_need_cls_and_sep():
    with pytest.raises(ModelError, match=r"\[CLS\]"):
        wordpiece_tokenizer(["[PAD]", "[UNK]", "a"], lowercase=False, special_rows=True)


def test_pruning_by_count_makes_rare_words_of_shorter_pieces_and_none_unknown():
    text = [["walk", "walk", "walked"]]
    vocabulary = [*SPECIAL_PIECES, "walk", "walked", "##ed", "w", "##e", "##d", "z"]
    pruned = prune_vocabulary(vocabulary, [text], lowercase=False, min_count=2)
    assert set(pruned) == {*SPECIAL_PIECES, "walk", "w", "##e", "##d"}
    tokens = wordpiece_tokenizer(pruned, lowercase=False, special_rows=False).encode("walked").tokens
    assert tokens == ["walk", "##e", "##d"]
