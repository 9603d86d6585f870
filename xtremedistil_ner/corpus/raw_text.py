"""Unlabelled sentences of `.txt`, `.jsonl` and `.parquet` files, streamed.

Each line of a `.txt` file, and each line of a text in a table, is one sentence, split into words as the tagger does it.
A list of words in a table is one sentence, taken as it is. Blank lines and missing texts are skipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from xtremedistil_ner.corpus.hashes import once_per_file
from xtremedistil_ner.corpus.json_lines import parse_record
from xtremedistil_ner.corpus.records import parquet_batches, parquet_schema, shown, table_rows
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.split import LINE, ROW, check_words
from xtremedistil_ner.corpus.streams import open_raw, open_text
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.names import admit_language

LANGUAGE_COLUMN = "language"
_LONGEST_TEXT = 1 << 24
"""Characters of a text in a table, whose lines are all held in memory at once."""


def read_text(
    path: Path, *, language: str, limit: int | None = None, column: str = "text", mixed: bool = False
) -> Iterator[Sentence]:
    """Sentences of a raw text file; `column` is their column in a `.jsonl` or `.parquet` file.

    `mixed`: the file has a column `language`, and rows of other languages are skipped.

    Raises: CorpusError for a missing or damaged file and a missing column, and `file:line:column` for invalid UTF-8.
    """
    return itertools.islice(_sentences(path, language, column, mixed), limit)


def sentences_of(text: object, identity: str, language: str) -> Iterator[Sentence]:
    """Sentences of one text of a table: one for each line of a string, or one for a list of words.

    Raises: CorpusError that says what is wrong with the text; the caller adds the location.
    """
    if isinstance(text, str):
        if len(text) > _LONGEST_TEXT:
            raise CorpusError(f"a text of {len(text):,} characters. Cut texts into {_LONGEST_TEXT:,} at most.")
        for line in text.split("\n"):  # not splitlines, see streams.py
            words = tuple([word for word, _, _ in split_words(line)])
            if words:
                yield Sentence(identity, language, words)
    elif text is not None and text != []:
        yield Sentence(identity, language, tuple(check_words(text)))


@once_per_file
def languages_in(path: Path) -> tuple[str, ...] | None:
    """Languages that a table's column `language` names, sorted; None if it has no such column.

    A `.jsonl` has the column if its first record has it. The whole file is read, about 2.5 µs a record.

    Raises: CorpusError for a damaged file, and for a record without a language.
    """
    if not is_table(path) or not _has_language_column(path):
        return None
    records = _records(path, (LANGUAGE_COLUMN,))
    return tuple(sorted({admit_language(value, location) for location, _, (value,) in records}))


def is_table(path: Path) -> bool:
    """Whether the name of a file says that it has columns."""
    return is_parquet(path) or ".jsonl" in path.suffixes[-2:]


def is_parquet(path: Path) -> bool:
    """Whether the name of a file says that it is a parquet table."""
    return path.suffix == ".parquet"


def _sentences(path: Path, language: str, column: str, mixed: bool) -> Iterator[Sentence]:
    if not is_table(path):
        for number, line in enumerate(open_text(path), start=1):
            yield from sentences_of(line, f"{path.name}:{number}", language)
        return
    for location, number, (text, *languages) in _records(path, (column, *[LANGUAGE_COLUMN] * mixed)):
        if any(admit_language(value, location) != language for value in languages):
            continue
        try:
            yield from sentences_of(text, f"{path.name}:{number}", language)
        except CorpusError as error:
            raise CorpusError(f"{location}: {error}") from error


def _records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, int, list[object]]]:
    """Rows of a table: their location for messages, their number, and their values in some columns."""
    if is_parquet(path):
        _check_columns(parquet_schema(path).names, columns, str(path))
        for number, values in table_rows(parquet_batches(path, columns), columns, str(path)):
            yield f"{path}{ROW}{number}", number, list(values)
        return
    for number, record in _json_records(path):
        location = f"{path}{LINE}{number}"
        _check_columns(record, columns, location)
        yield location, number, [record[column] for column in columns]


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, raw in enumerate(open_raw(path), start=1):
        record = parse_record(raw, path, number)
        if record is not None:
            yield number, record


def _has_language_column(path: Path) -> bool:
    if is_parquet(path):
        return LANGUAGE_COLUMN in parquet_schema(path).names
    return LANGUAGE_COLUMN in next((record for _, record in _json_records(path)), {})


def _check_columns(present: Collection[str], required: Sequence[str], location: str) -> None:
    for column in required:
        if column not in present:
            hint = "" if column == LANGUAGE_COLUMN else " Name the column of the text in transfer.text."
            raise CorpusError(f"{location}: no column {column!r} among {shown(present)}.{hint}")
