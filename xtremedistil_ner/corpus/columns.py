"""Labelled text in columns, `.tsv` and `.conll`: one word and its tag a line, a blank line between sentences.

About 2 µs a word. Problems are reported as `file:line:column`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from xtremedistil_ner.corpus.split import LabelledSplit, SplitRows, is_tag
from xtremedistil_ner.corpus.streams import decode_line, open_raw
from xtremedistil_ner.errors import CorpusError

_DOCUMENT_MARK = "-DOCSTART-"
_NO_WORD_BEGINS_SO = ("", " ", "-")
"""Beginnings of lines that take a closer look: nothing, a space, perhaps a document mark."""


def read_columns(path: Path, *, language: str) -> LabelledSplit:
    """Read a file of lines with a word and a tag separated by a tab, or columns (word first, tag last).

    Columns are separated by tabs or spaces.

    Raises: CorpusError with the first problems of the file.
    """
    lines = _Lines(path, SplitRows(str(path), path.name))
    for number, raw in enumerate(open_raw(path), start=1):
        lines.read(raw, number)
        if lines.rows.are_hopeless:
            break
    lines.end_sentence()
    return lines.rows.finish(language)


@dataclass(slots=True)
class _Lines:
    """Where in a sentence a file has been read up to."""

    path: Path
    rows: SplitRows
    separator: str = ""
    first_line: int = 0
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def read(self, raw: bytes, number: int) -> None:
        try:
            line = decode_line(raw, self.path, number)
        except CorpusError as error:
            self.rows.problems.append(str(error))
            return
        word, _, tag = line.partition("\t")
        if tag in self.rows.tag_lines and word[:1] not in _NO_WORD_BEGINS_SO and "\r" not in word:  # nearly every line
            self.add(word, tag, number)
        elif not line.strip(" "):
            self.end_sentence()
        elif line.startswith(_DOCUMENT_MARK):
            self.end_sentence()
            self.rows.skipped_lines += 1
        elif self.is_comment(line):
            self.rows.skipped_lines += 1
        else:
            self.read_line(line, number)

    def add(self, word: str, tag: str, number: int) -> None:
        if not self.words:
            self.first_line = number
        self.words.append(word)
        self.tags.append(tag)

    def end_sentence(self) -> None:
        if self.words:
            self.rows.sentences.append((self.first_line, self.words, self.tags))
            self.words, self.tags = [], []

    def is_comment(self, line: str) -> bool:
        # In a file whose columns are separated by spaces, `# NN O` is the word "#", not a comment.
        if not line.startswith("#") or "\t" in line:
            return False
        return self.separator == "\t" or not is_tag(line.rpartition(" ")[2])

    def read_line(self, line: str, number: int) -> None:
        separator = "\t" if "\t" in line else " "
        columns = line.split("\t") if separator == "\t" else line.split(" ")
        word, tag = columns[0], columns[-1].strip(" ")
        if separator == " ":
            columns = [column for column in columns if column]
            word, tag = columns[0], columns[-1]
        if "\r" in line:
            self.report(number, line.index("\r"), "a carriage return inside a line. End lines with a line feed.")
        elif len(columns) < 2:
            self.report(number, len(line), f"word {word!r} has no tag. Write one word and one tag, separated by a tab.")
        elif not word.strip(" "):
            self.report(number, 0, "a tag without a word. Write one word and one tag, separated by a tab.")
        elif not is_tag(tag):
            self.report(number, line.rfind(tag), f"{tag!r} is no tag. Write O, or B- or I- and an entity type.")
        else:
            self.separator = self.separator or separator
            self.rows.tag_lines.setdefault(tag, number)
            self.add(word, tag, number)

    def report(self, number: int, column: int, message: str) -> None:
        """`column` counts from 0, the message from 1."""
        self.rows.problems.append(f"{self.path}:{number}:{column + 1}: {message}")
