"""Text in columns: one word a line, in a corpus with its tag, and a blank line between sentences.

One reader serves labelled corpora and `xner tag`, so that both skip and refuse the same lines. It takes about 2 µs a
word, and reports problems as `file:line:column`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from xtremedistil_ner.corpus.layout import DOCUMENT_MARK, SHOWN_BY_FILE, ColumnNumbers, Layout, Row, find_layout
from xtremedistil_ner.corpus.split import MAX_PROBLEMS, LabelledSplit, SplitRows, is_tag
from xtremedistil_ner.corpus.streams import decode_line, open_raw
from xtremedistil_ner.errors import CorpusError, quoted

COLUMN_ENDINGS = (".tsv", ".conll", ".conllu", ".iob2", ".iob", ".bio")
_SAMPLE_LINES = 1000
_SAMPLE_BYTES = 1 << 22
_MOST_WORDS = 100_000
_NO_BLANK_LINE = f"more than {_MOST_WORDS:,} words without a blank line. Put one between sentences."
_NO_MISC_TAG = "no word has NER= or NE= in its last column. Name corpus.columns.tag if the tags are elsewhere."
_PLAIN = Layout("\t", 2, word=0, tag=1)
_NOT_PLAIN = ("", " ", "-", "#")
"""Beginnings of lines that may be no plain word: nothing, a space, that of a document mark, that of a comment."""


@dataclass(slots=True)
class ColumnSentence:
    """Words of a sentence, their tags as written (empty where the file has none), its first line and its problems.

    Units: `size` counts the bytes read since the previous sentence.
    """

    line: int = 0
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, word: str, tag: str, number: int) -> None:
        """Take the next word, from a line of this number."""
        if not self.words:
            self.line = number
        self.words.append(word)
        self.tags.append(tag)

    def report(self, problem: str) -> None:
        """Note a problem, unless 20 are noted already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


class ColumnReader:
    """Sentences of a column file, with their problems; the caller decides whether a problem ends the reading.

    `skipped_lines` counts comments and document marks, `tag_lines` has the line in which each tag first occurs.
    `labelled`: every word must have a tag. `is_terminal`: a person types the lines, so the first sentence alone decides
    the layout.
    """

    def __init__(
        self,
        lines: Iterable[bytes],
        path: Path,
        columns: ColumnNumbers = SHOWN_BY_FILE,
        *,
        labelled: bool,
        is_terminal: bool = False,
    ) -> None:
        rest = iter(lines)
        sample = _take_sample(rest, one_sentence=is_terminal)
        self.layout: Layout = find_layout(list(_decodable(sample, path)), columns, labelled=labelled)
        self.skipped_lines = 0
        self.tag_lines: dict[str, int] = {}
        self._lines = chain(sample, rest)
        self._path, self._labelled = path, labelled
        self._is_plain = labelled and self.layout == _PLAIN

    def __iter__(self) -> Iterator[ColumnSentence]:
        """The sentences in order; a sentence with problems may lack words."""
        layout, sentence = self.layout, ColumnSentence()
        if layout.problem:
            yield ColumnSentence(problems=[f"{self._path}:1:1: {layout.problem}"])
            return
        most_problems = MAX_PROBLEMS if self._labelled else sys.maxsize
        is_sound = True
        for number, raw in enumerate(self._lines, start=1):
            sentence.size += len(raw)
            ends = self._read(raw, number, sentence)
            is_sound = is_sound and not sentence.problems
            if len(sentence.words) > _MOST_WORDS:
                sentence.problems.append(f"{self._path}:{sentence.line}: {_NO_BLANK_LINE}")
                ends = True
            if ends or len(sentence.problems) >= most_problems:
                yield sentence
                sentence = ColumnSentence()
        if layout.has_misc and self._labelled and is_sound and not self.tag_lines.keys() - {"O"}:
            sentence.problems.append(f"{self._path}: {_NO_MISC_TAG}")
        if sentence.words or sentence.problems:
            yield sentence

    def _read(self, raw: bytes, number: int, sentence: ColumnSentence) -> bool:
        """Add a line to a sentence; whether the sentence ends there."""
        try:
            line = decode_line(raw, self._path, number)
        except CorpusError as error:
            sentence.report(str(error))
            return False
        word, _, tag = line.partition("\t")
        if self._is_plain and tag in self.tag_lines and word[:1] not in _NOT_PLAIN and "\r" not in word:
            sentence.add(word, tag, number)  # nearly every line
            return False
        is_mark = line.startswith(DOCUMENT_MARK)
        self.skipped_lines += is_mark
        if is_mark or not line.strip():
            return bool(sentence.words or sentence.problems)
        self._read_row(line, number, sentence)
        return False

    def _read_row(self, line: str, number: int, sentence: ColumnSentence) -> None:
        row = self.layout.cut(line)
        if self.layout.is_skipped(line, row):
            self.skipped_lines += 1
        elif problem := self._problem(line, row):
            column, message = problem
            sentence.report(f"{self._path}:{number}:{column + 1}: {message}")
        else:
            tag = "" if self.layout.tag is None else self.layout.tag_of(row)
            self.tag_lines.setdefault(tag, number)
            sentence.add(row[self.layout.word], tag, number)

    def _problem(self, line: str, row: Row) -> tuple[int, str] | None:
        """What is wrong with a line, and the character from which on it is wrong, counted from 0."""
        layout = self.layout
        if "\r" in line:
            return line.index("\r"), "a carriage return inside a line. End lines with a line feed."
        if self._labelled and len(row) == 1:
            return len(line), f"word {quoted(row[0])} has no tag. Write one word and one tag, separated by a tab."
        if len(row) != layout.n_columns:
            return 0, _other_number(line, row, layout)
        if not row[layout.word].strip(" "):
            return 0, f"no word in column {layout.word + 1}. Write a word, or leave the line empty between sentences."
        if self._labelled and not is_tag(tag := layout.tag_of(row)):
            return line.rfind(tag), f"{quoted(tag)} is no tag. Write O, or B- or I- and an entity type."
        return None


def read_columns(path: Path, *, language: str, columns: ColumnNumbers = SHOWN_BY_FILE) -> LabelledSplit:
    """Read a labelled column file; `columns` names the columns of words and tags if the file does not show them.

    Raises: CorpusError with the first problems of the file.
    """
    rows = SplitRows(str(path), path.name)
    reader = ColumnReader(open_raw(path), path, columns, labelled=True)
    for sentence in reader:
        rows.problems += sentence.problems
        if rows.are_hopeless:
            break
        rows.add(sentence.line, sentence.words, sentence.tags)
    rows.skipped_lines, rows.tag_lines, rows.note = reader.skipped_lines, reader.tag_lines, reader.layout.note
    return rows.finish(language)


def _other_number(line: str, row: Row, layout: Layout) -> str:
    actual = "1 column" if len(row) == 1 else f"{len(row)} columns"
    expected, separator = layout.n_columns, "a tab" if layout.separator == "\t" else "spaces"
    return f"{actual}, where the file has {expected}: {quoted(line)}. Write {expected}, separated by {separator}."


def _take_sample(lines: Iterator[bytes], *, one_sentence: bool) -> list[bytes]:
    """The first lines of a file, up to a number of rows; comments do not count as rows."""
    sample: list[bytes] = []
    rows = size = 0
    for raw in lines:
        sample.append(raw)
        size += len(raw)
        is_row = bool(raw.strip()) and not raw.startswith(b"#")
        if (one_sentence and rows and not is_row) or rows >= _SAMPLE_LINES or size >= _SAMPLE_BYTES:
            break
        rows += is_row
    return sample


def _decodable(sample: Iterable[bytes], path: Path) -> Iterator[str]:
    for number, raw in enumerate(sample, start=1):
        with suppress(CorpusError):
            yield decode_line(raw, path, number)
