"""The layout of a column file: what separates the columns, how many there are, and which have words and tags.

The first lines of a file decide it for the whole file. So the number of columns distinguishes a comment from the word
`#`, and a word that has a space from two columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from xtremedistil_ner.corpus.split import is_tag

DOCUMENT_MARK = "-DOCSTART-"
_CONLLU_COLUMNS = 10
_NAMED_COMMENT = re.compile(r"# [^\s=]+ =")
_NUMBER = re.compile(r"(\d{1,9})[.:)]?")
_RANGE_OR_EMPTY_NODE = re.compile(r"\d+(-\d+|\.\d+)")
"""In CoNLL-U, the numbers of several words that are written as one, and of words that are not written."""
_MISC_TAG = re.compile(r"(?:^|\|)(?:NER|NE)=([^|]*)", flags=re.IGNORECASE)
_NUMBERED_SHARE = 0.8
Row = list[str]


@dataclass(frozen=True, slots=True)
class ColumnNumbers:
    """The columns of the words and of the tags, counted from 1; None if the file must show it."""

    word: int | None = None
    tag: int | None = None


SHOWN_BY_FILE = ColumnNumbers()


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file; `word` and `tag` count from 0, and `tag` is None where no column has tags.

    `is_numbered`: column 0 numbers the words. `has_misc`: the tags are in CoNLL-U's last column, as `NER=` or `NE=`.
    `note` describes an unusual layout, `problem` says why the file cannot be read. `types` are the entity types of the
    first lines that are not comments; that of `O` is empty.
    """

    separator: str
    n_columns: int
    word: int = 0
    tag: int | None = None
    is_numbered: bool = False
    has_misc: bool = False
    note: str = ""
    problem: str = ""
    types: frozenset[str] = field(default=frozenset(), compare=False)

    def cut(self, line: str) -> Row:
        """The columns of a line, without empty ones after the last."""
        row = _cut(line, self.separator)
        while len(row) > self.n_columns and not row[-1].strip(" "):
            row.pop()
        return row

    def is_skipped(self, line: str, row: Row) -> bool:
        """Whether a line is a comment, or a line of CoNLL-U that is not one written word."""
        if self.is_numbered and _RANGE_OR_EMPTY_NODE.fullmatch(row[0]):
            return True
        if not line.startswith("#"):
            return False
        if len(row) != self.n_columns or self.is_numbered or _NAMED_COMMENT.match(line):
            return True
        if self.tag is None:
            return row[0].startswith("# ")  # between tabs; where spaces separate columns, it is the word `#`
        tag = self.tag_of(row)
        return line.startswith("# ") and not (is_tag(tag) and tag[2:] in self.types)  # `# U-Bahn` has no type Bahn

    def tag_of(self, row: Row) -> str:
        """The tag of a row as it is written; O if MISC has none."""
        assert self.tag is not None
        text = row[self.tag].strip(" ")
        if not self.has_misc:
            return text
        match = _MISC_TAG.search(text)
        return match[1] if match else "O"


def find_layout(lines: Sequence[str], columns: ColumnNumbers, *, labelled: bool) -> Layout:
    """The layout that the first lines of a file show; `columns` overrides what they show.

    `labelled`: the file must have tags, so that its last column is taken for them if no column looks like tags.
    """
    sentences = _sentences_of_rows(lines)
    separator = _separator(sentences)
    cut = [[_cut(line, separator) for line in sentence] for sentence in sentences]
    n_columns = _number_of_columns([row for sentence in cut for row in sentence])
    whole = [[row for row in sentence if len(row) >= n_columns] for sentence in cut]
    rows = [row for sentence in whole for row in sentence]
    shares = [_share_of_tags(rows, column) for column in range(n_columns)]
    is_pair = n_columns == 2 and shares[1] > 1 / 2
    counts = n_columns > 1 and columns.word != 1 and _numbers_words(whole, is_pair=is_pair)
    word = columns.word - 1 if columns.word else int(counts)
    shown_tag = columns.tag - 1 if columns.tag else _tag_column(shares, word, is_numbered=counts)
    has_misc = counts and n_columns == _CONLLU_COLUMNS and shown_tag in (None, n_columns - 1)
    tag = n_columns - 1 if shown_tag is None and (labelled or has_misc) else shown_tag
    if problem := _problem(shares, columns, word, shown_tag, tag):
        return Layout(separator, n_columns, problem=problem)
    note = "" if columns.word and columns.tag else _note(n_columns, word, tag, is_numbered=counts, has_misc=has_misc)
    layout = Layout(separator, n_columns, word, tag, counts, has_misc, note)
    tags = [layout.tag_of(row) for row in rows] if tag is not None else []
    return replace(layout, types=frozenset({"", *(tag[2:] for tag in tags if is_tag(tag))}))


def _cut(line: str, separator: str) -> Row:
    if separator == "\t":
        return line.split("\t")
    text = line.rstrip("\t ")
    return text.split("\t") if "\t" in text else [column for column in text.split(" ") if column]


def _sentences_of_rows(lines: Sequence[str]) -> list[list[str]]:
    """Lines that have words, by sentence; lines that begin like a comment count only if there are no others."""
    tests: tuple[Callable[[str], bool], ...] = (
        lambda line: not line.startswith("#"),
        lambda line: not line.startswith("# "),
        lambda line: is_tag(line.rstrip().rpartition(" ")[2]),
    )
    for is_row in tests:
        sentences: list[list[str]] = [[]]
        for line in lines:
            if not line.strip() or line.startswith(DOCUMENT_MARK):
                sentences.append([])
            elif is_row(line):
                sentences[-1].append(line)
        if filled := [sentence for sentence in sentences if sentence]:
            return filled
    return []


def _separator(sentences: Sequence[Sequence[str]]) -> str:
    have_tab = ["\t" in line.rstrip("\t ") for sentence in sentences for line in sentence]
    return "\t" if 2 * sum(have_tab) >= len(have_tab) else " "


def _number_of_columns(rows: Sequence[Row]) -> int:
    """The number that most rows have, or the smaller one in a tie, without last columns that are always empty."""
    counts = Counter(map(len, rows))
    number = min(counts, key=lambda count: (-counts[count], count), default=0)
    while number > 1 and not any(row[number - 1].strip(" ") for row in rows if len(row) >= number):
        number -= 1
    return number


def _share_of_tags(rows: Sequence[Row], column: int) -> float:
    return sum(is_tag(row[column].strip(" ")) for row in rows) / len(rows)


def _numbers_words(sentences: Sequence[Sequence[Row]], *, is_pair: bool) -> bool:
    """Whether column 0 counts words or sentences.

    `is_pair`: the only other column has tags. Then the numbers may be the words, unless they count beyond 2.
    """
    numbers = [
        [int(match[1]) if (match := _NUMBER.fullmatch(row[0])) else None for row in sentence]
        for sentence in ([row for row in rows if not _RANGE_OR_EMPTY_NODE.fullmatch(row[0])] for rows in sentences)
    ]
    total = sum(map(len, numbers))
    steps = (1,) if is_pair else (0, 1)
    hits = longest = 0
    for sentence in numbers:
        run, previous = 0, None
        for number in sentence:
            fits = number is not None and (previous is None or number - previous in steps)
            run, previous = run + 1 if fits else 0, number
            hits += fits
            longest = max(longest, run)
    if is_pair:
        return longest > 2 and hits >= _NUMBERED_SHARE * total
    only_starts = total > 1 and all(number in (0, 1) for sentence in numbers for number in sentence)
    return only_starts or (longest > 1 and hits >= _NUMBERED_SHARE * total)


def _tag_column(shares: Sequence[float], word: int, *, is_numbered: bool) -> int | None:
    """The last column that has tags, or after a number and a word the next one (GermEval has a second layer)."""
    candidates = [column for column, share in enumerate(shares) if share > 1 / 2 and column != word]
    if is_numbered and word + 1 in candidates:
        return word + 1
    return candidates[-1] if candidates else None


def _note(n_columns: int, word: int, tag: int | None, *, is_numbered: bool, has_misc: bool) -> str:
    tags = "" if tag is None else f", tags in column {tag + 1}"
    if has_misc:
        tags = f", tags as NER= or NE= in column {n_columns}"
    if is_numbered:
        return f"column 1 has numbers: words are read in column {word + 1}{tags}"
    return f"words are read in column {word + 1}{tags} of {n_columns}" if tag not in (None, n_columns - 1) else ""


def _problem(shares: Sequence[float], columns: ColumnNumbers, word: int, shown_tag: int | None, tag: int | None) -> str:
    """Why a file cannot be read, if it cannot; `shown_tag` is None if no column looks like tags."""
    highest = max(columns.word or 0, columns.tag or 0)
    if 0 < len(shares) < highest:
        return f"there are {len(shares)} columns, and corpus.columns or --columns names column {highest}. Change it."
    has_tags = columns.word is None and shown_tag is None and len(shares) > word and shares[word] > 1 / 2
    if len(shares) > 1 and (has_tags or word == tag):
        problem = f"column {word + 1} has tags, and no column has words"
        return f"{problem}. Name both in corpus.columns or --columns."
    return ""
