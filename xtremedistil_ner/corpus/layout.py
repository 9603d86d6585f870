"""How the lines of a column file are cut: what separates columns, how many there are, which have words and tags.

The first lines of a file decide it for the whole file. So a comment is told from the word `#`, and a word with a space
in it from two columns, by the number of columns that the other lines have.
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
_NO_WORD_OF_ITS_OWN = re.compile(r"\d+(-\d+|\.\d+)")
"""The numbers that CoNLL-U gives to several words written as one, and to words that are not written."""
_MISC_TAG = re.compile(r"(?:^|\|)(?:NER|NE)=([^|]*)", flags=re.IGNORECASE)
_NUMBERED_SHARE = 0.8
Row = list[str]


@dataclass(frozen=True, slots=True)
class ColumnNumbers:
    """The columns of the words and of the tags, counted from 1; None where the file is to show it."""

    word: int | None = None
    tag: int | None = None


SHOWN_BY_FILE = ColumnNumbers()


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file; `word` and `tag` count from 0, and `tag` is None where no column has tags.

    `is_numbered`: column 0 numbers the words. `has_misc`: the tags are those of CoNLL-U's last column, `NER=` or `NE=`.
    `note` says what was found other than usual, `problem` why the file cannot be read. `types` are the entity types of
    the first lines that are no comments; `O` has the empty one.
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
        """The columns of a line; empty ones behind the last are left out."""
        row = _cut(line, self.separator)
        while len(row) > self.n_columns and not row[-1].strip(" "):
            row.pop()
        return row

    def is_skipped(self, line: str, row: Row) -> bool:
        """Whether a line is a comment, or of CoNLL-U one that has no word of its own."""
        if self.is_numbered and _NO_WORD_OF_ITS_OWN.fullmatch(row[0]):
            return True
        if not line.startswith("#"):
            return False
        if len(row) != self.n_columns or self.is_numbered or _NAMED_COMMENT.match(line):
            return True
        if self.tag is None:
            return row[0].startswith("# ")  # of tabs; between spaces it is the word `#`
        tag = self.tag_of(row)
        return line.startswith("# ") and not (is_tag(tag) and tag[2:] in self.types)  # `# U-Bahn` has no type Bahn

    def tag_of(self, row: Row) -> str:
        """The tag of a row as it is written; O where MISC has none."""
        assert self.tag is not None
        text = row[self.tag].strip(" ")
        if not self.has_misc:
            return text
        found = _MISC_TAG.search(text)
        return found[1] if found else "O"


def find_layout(lines: Sequence[str], columns: ColumnNumbers, *, labelled: bool) -> Layout:
    """The layout that the first lines of a file show; `columns` overrules what they show of words and tags.

    `labelled`: the file must have tags, so that its last column is taken for them where no column looks like it.
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
    found = columns.tag - 1 if columns.tag else _tag_column(shares, word, is_numbered=counts)
    has_misc = counts and n_columns == _CONLLU_COLUMNS and found in (None, n_columns - 1)
    tag = n_columns - 1 if found is None and (labelled or has_misc) else found
    if problem := _problem(shares, columns, word, found, tag):
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
    """Lines that have words, by sentence; those that begin like a comment count only where there are no others."""
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
        if found := [sentence for sentence in sentences if sentence]:
            return found
    return []


def _separator(sentences: Sequence[Sequence[str]]) -> str:
    have_tab = ["\t" in line.rstrip("\t ") for sentence in sentences for line in sentence]
    return "\t" if 2 * sum(have_tab) >= len(have_tab) else " "


def _number_of_columns(rows: Sequence[Row]) -> int:
    """The number that most rows have, the smaller one in a tie; without last columns that are empty everywhere."""
    counts = Counter(map(len, rows))
    number = min(counts, key=lambda count: (-counts[count], count), default=0)
    while number > 1 and not any(row[number - 1].strip(" ") for row in rows if len(row) >= number):
        number -= 1
    return number


def _share_of_tags(rows: Sequence[Row], column: int) -> float:
    return sum(is_tag(row[column].strip(" ")) for row in rows) / len(rows)


def _numbers_words(sentences: Sequence[Sequence[Row]], *, is_pair: bool) -> bool:
    """Whether column 0 counts words or sentences.

    `is_pair`: beside it there are only tags. So it must count further than to 2, for the words may be numbers.
    """
    numbers = [
        [int(found[1]) if (found := _NUMBER.fullmatch(row[0])) else None for row in sentence]
        for sentence in ([row for row in rows if not _NO_WORD_OF_ITS_OWN.fullmatch(row[0])] for rows in sentences)
    ]
    total = sum(map(len, numbers))
    steps = (0, 1) if not is_pair else (1,)
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
    """The column that has tags: the last one, but behind a number and a word the next (GermEval has a second layer)."""
    found = [column for column, share in enumerate(shares) if share > 1 / 2 and column != word]
    if is_numbered and word + 1 in found:
        return word + 1
    return found[-1] if found else None


def _note(n_columns: int, word: int, tag: int | None, *, is_numbered: bool, has_misc: bool) -> str:
    tags = "" if tag is None else f", tags in column {tag + 1}"
    if has_misc:
        tags = f", tags as NER= or NE= in column {n_columns}"
    if is_numbered:
        return f"column 1 has numbers: words are read in column {word + 1}{tags}"
    return f"words are read in column {word + 1}{tags} of {n_columns}" if tag not in (None, n_columns - 1) else ""


def _problem(shares: Sequence[float], columns: ColumnNumbers, word: int, found: int | None, tag: int | None) -> str:
    """Why a file cannot be read; `found` is None where no column has tags."""
    asked = max(columns.word or 0, columns.tag or 0)
    if 0 < len(shares) < asked:
        return f"there are {len(shares)} columns, and corpus.columns or --columns names column {asked}. Change it."
    has_tags = columns.word is None and found is None and len(shares) > word and shares[word] > 1 / 2
    if len(shares) > 1 and (has_tags or word == tag):
        found_none = f"column {word + 1} has tags, and no column was found for the words"
        return f"{found_none}. Name both in corpus.columns or --columns."
    return ""
