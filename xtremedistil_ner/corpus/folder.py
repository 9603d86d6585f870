"""A folder of labelled text, `<lang>/{train,dev,test}.tsv`, and of raw text, `<lang>.txt`.

One word and its tag a line, a blank line between sentences. Readers are strict, because a corpus that is silently
misread costs a training run: the first 20 problems of a file are reported at once. About 2 µs a word; labelled files
are read as a whole, raw text is streamed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.streams import COMPRESSIONS, decode_line, open_raw, open_text
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import tag_format, to_iob2

SPLITS = ("train", "dev", "test")
FORMATS = (".tsv", ".conll")
MAX_PROBLEMS = 20
_DOCUMENT_MARK = "-DOCSTART-"
_TAG = re.compile(r"O|[BIESLU]-\S+")


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """What one labelled file holds; the tags of its sentences are IOB2 whatever the file has.

    `repaired_tags` counts inside tags that continued no entity and now begin one, `skipped_lines` the comments and
    document marks, `tag_lines` says in which line each tag, as written, stands first.
    """

    path: Path
    sentences: tuple[Sentence, ...]
    tag_format: str
    repaired_tags: int
    skipped_lines: int
    tag_lines: Mapping[str, int]


def languages_of(path: Path) -> tuple[str, ...]:
    """Languages of a corpus folder, sorted: its folders with at least one split.

    Raises: CorpusError if `path` is no folder.
    """
    if not path.is_dir():
        raise CorpusError(f"{path}: no such folder. Give a folder with one folder per language.")
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    return tuple(name for name in folders if any(find_split(path, name, split) for split in SPLITS))


def find_split(path: Path, language: str, split: str) -> Path | None:
    """Find the file of a split, whatever its format and compression; None if there is none.

    Raises: CorpusError if there are two.
    """
    return _only([path / language / f"{split}{kind}{packed}" for kind in FORMATS for packed in COMPRESSIONS])


def find_text(path: Path, language: str) -> Path | None:
    """Find the raw text of a language, whatever its compression; None if there is none.

    Raises: CorpusError if there are two.
    """
    return _only([path / f"{language}.txt{packed}" for packed in COMPRESSIONS])


def text_languages(path: Path) -> tuple[str, ...]:
    """Languages of which a folder has raw text, sorted."""
    names = {entry.name.removesuffix(packed) for entry in path.iterdir() for packed in COMPRESSIONS if entry.is_file()}
    return tuple(sorted(name.removesuffix(".txt") for name in names if name.endswith(".txt")))


def read_split(path: Path, *, language: str) -> CorpusFile:
    """Read one labelled file.

    Lines are a word and a tag separated by a tab, or columns (word first, tag last) separated by tabs or spaces.
    Words with the prefix `<language>:` throughout, as PAN-X has them, lose it.

    Raises: CorpusError with the first problems of the file, each as `file:line:column`.
    """
    rows = _Rows(path)
    for number, raw in enumerate(open_raw(path), start=1):
        rows.read(raw, number)
        if len(rows.problems) == MAX_PROBLEMS:
            break
    rows.end_sentence()
    if not rows.problems and not rows.sentences:
        rows.problems.append(f"{path}:1:1: no sentence in this file. Remove it or fill it.")
    if rows.problems:
        raise CorpusError("\n".join(rows.problems))
    return _corpus_file(rows, language)


def read_text(path: Path, *, language: str, limit: int | None = None) -> Iterator[Sentence]:
    """Sentences of a raw text file, one a line, split into words as the tagger does; blank lines are skipped.

    Raises: CorpusError for a missing or damaged file, and `file:line:column` for invalid UTF-8.
    """
    return itertools.islice(_text_sentences(path, language), limit)


def _text_sentences(path: Path, language: str) -> Iterator[Sentence]:
    for number, line in enumerate(open_text(path), start=1):
        words = tuple([word for word, _, _ in split_words(line)])
        if words:
            yield Sentence(f"{path.name}:{number}", language, words)


@dataclass(slots=True)
class _Rows:
    """What has been read of a labelled file so far."""

    path: Path
    sentences: list[tuple[int, list[str], list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    tag_lines: dict[str, int] = field(default_factory=dict)
    skipped_lines: int = 0
    separator: str = ""
    first_line: int = 0
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def read(self, raw: bytes, number: int) -> None:
        try:
            line = decode_line(raw, self.path, number)
        except CorpusError as error:
            self.problems.append(str(error))
            return
        word, _, tag = line.partition("\t")
        if word and tag in self.tag_lines and word != _DOCUMENT_MARK:  # nearly every line
            self.add(word, tag, number)
        elif not line.strip(" "):
            self.end_sentence()
        elif line.startswith(_DOCUMENT_MARK):
            self.end_sentence()
            self.skipped_lines += 1
        elif self.is_comment(line):
            self.skipped_lines += 1
        else:
            self.read_columns(line, number)

    def add(self, word: str, tag: str, number: int) -> None:
        if not self.words:
            self.first_line = number
        self.words.append(word)
        self.tags.append(tag)

    def end_sentence(self) -> None:
        if self.words:
            self.sentences.append((self.first_line, self.words, self.tags))
            self.words, self.tags = [], []

    def is_comment(self, line: str) -> bool:
        # In a file whose columns are separated by spaces, `# NN O` is the word "#", not a comment.
        if not line.startswith("#") or "\t" in line:
            return False
        return self.separator == "\t" or _TAG.fullmatch(line.rpartition(" ")[2]) is None

    def read_columns(self, line: str, number: int) -> None:
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
        elif not _TAG.fullmatch(tag):
            self.report(number, line.rfind(tag), f"{tag!r} is no tag. Write O, or B- or I- and an entity type.")
        else:
            self.separator = self.separator or separator
            self.tag_lines.setdefault(tag, number)
            self.add(word, tag, number)

    def report(self, number: int, column: int, message: str) -> None:
        """`column` counts from 0, the message from 1."""
        self.problems.append(f"{self.path}:{number}:{column + 1}: {message}")


def _corpus_file(rows: _Rows, language: str) -> CorpusFile:
    written = {tuple(tags) for _, _, tags in rows.sentences}  # far fewer than sentences
    scheme = tag_format(sorted(written))
    converted = {tags: to_iob2(tags, format=scheme) for tags in written}
    prefix = len(_panx_prefix(rows, language))
    name = rows.path.name
    sentences: list[Sentence] = []
    repaired = 0
    for first_line, words, tags in rows.sentences:
        iob2, repairs = converted[tuple(tags)]
        repaired += repairs
        cut = tuple([word[prefix:] for word in words]) if prefix else tuple(words)
        sentences.append(Sentence(f"{name}:{first_line}", language, cut, iob2))
    return CorpusFile(rows.path, tuple(sentences), scheme, repaired, rows.skipped_lines, dict(rows.tag_lines))


def _panx_prefix(rows: _Rows, language: str) -> str:
    """`<language>:` if every word of the file begins so, else nothing."""
    prefix = f"{language}:"
    words = (word for _, words, _ in rows.sentences for word in words)
    return prefix if all(word.startswith(prefix) for word in words) else ""


def _only(candidates: list[Path]) -> Path | None:
    found = [path for path in candidates if path.is_file()]
    if len(found) > 1:
        raise CorpusError(f"{found[0]}: {found[1].name} stands beside it. Remove one of the two.")
    return found[0] if found else None
