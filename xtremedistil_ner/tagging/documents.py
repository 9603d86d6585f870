"""What `xner tag` reads: a text a line, a JSON object a line, or words in columns, from files or standard input.

A bad line raises an error that names file and line, or is passed over and reported, as the caller chooses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from xtremedistil_ner.corpus.columns import COLUMN_ENDINGS, ColumnReader
from xtremedistil_ner.corpus.json_lines import parse_record
from xtremedistil_ner.corpus.layout import SHOWN_BY_FILE, ColumnNumbers
from xtremedistil_ner.corpus.streams import COMPRESSIONS, LONGEST_LINE_BYTES, decode_line, open_raw, read_lines
from xtremedistil_ner.errors import CorpusError, UsageError

InputFormat = Literal["text", "jsonl", "conll"]
OnBadLine = Callable[[CorpusError], None]
STANDARD_INPUT = Path("<stdin>")
_JSON_ENDINGS = (".jsonl", ".ndjson")
_FORMAT_OF: dict[str, InputFormat] = {
    **dict.fromkeys(_JSON_ENDINGS, "jsonl"),
    **dict.fromkeys(COLUMN_ENDINGS, "conll"),
}
_TABLE_ENDINGS = (".json", ".parquet", ".spacy", ".arrow", ".csv", ".xlsx")
"""Of files whose lines are no texts."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a sentence of words and then no text, and its origin, file and line.

    `record` is the JSON object that it came in. Units: `offset` is where a text begins in a file of plain text, in code
    points; `size` counts the bytes that were read for it.
    """

    origin: str
    text: str | None = None
    words: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    offset: int | None = None
    size: int = 0


def read_documents(
    files: Sequence[Path],
    form: InputFormat | None = None,
    *,
    columns: ColumnNumbers = SHOWN_BY_FILE,
    on_bad_line: OnBadLine | None = None,
) -> Iterator[Document]:
    """The documents of some files in order; of standard input when there is none.

    Without a `form` the file name decides. `columns` has the numbers of the columns that the files do not show.
    `on_bad_line` hears of each line that is passed over, and of columns of each sentence.

    Raises: CorpusError for a missing or damaged file, for columns without a readable sentence and, without
    `on_bad_line`, for the first bad line; UsageError as `format_of`.
    """
    readers: dict[InputFormat, Callable[[Iterable[bytes], Path, OnBadLine], Iterator[Document]]] = {
        "text": _read_text,
        "jsonl": _read_jsonl,
        "conll": partial(_read_conll, columns=columns),
    }
    for path in files or (STANDARD_INPUT,):
        lines = read_lines(sys.stdin.buffer) if path == STANDARD_INPUT else open_raw(path)
        yield from readers[form or format_of(path)](lines, path, on_bad_line or _stop)


def format_of(path: Path) -> InputFormat:
    """The format that a file's name tells, compressed or not; text if it tells none.

    Raises: UsageError for the name of a table that is not read here.
    """
    suffixes = (suffix.lower() for suffix in reversed(path.suffixes))
    suffix = next((suffix for suffix in suffixes if suffix not in COMPRESSIONS), "")
    if suffix in _TABLE_ENDINGS:
        raise UsageError(
            f"{path}: {suffix} is not read here. Give plain text, one JSON object a line ({', '.join(_JSON_ENDINGS)}) "
            f"or columns ({', '.join(COLUMN_ENDINGS)}), or name with --input what the file has."
        )
    return _FORMAT_OF.get(suffix, "text")


def _stop(error: CorpusError) -> NoReturn:
    raise error


def _read_text(lines: Iterable[bytes], path: Path, on_bad_line: OnBadLine) -> Iterator[Document]:
    offset: int | None = 0
    for number, raw in enumerate(lines, start=1):
        mark = int(number == 1 and raw.startswith(_BYTE_ORDER_MARK))
        try:
            text = decode_line(raw, path, number)
        except CorpusError as error:
            on_bad_line(error)
        else:
            start = None if offset is None else offset + mark
            yield Document(f"{path}:{number}", text, offset=start, size=len(raw))
        is_cut = len(raw) > LONGEST_LINE_BYTES  # its rest was not read, so the next line's offset is unknown
        offset = None if offset is None or is_cut else offset + len(raw.decode("utf-8", "replace"))


def _read_jsonl(lines: Iterable[bytes], path: Path, on_bad_line: OnBadLine) -> Iterator[Document]:
    for number, raw in enumerate(lines, start=1):
        try:
            record = parse_record(raw, path, number)
            if record is not None:
                yield _document_of(record, f"{path}:{number}", raw)
        except CorpusError as error:
            on_bad_line(error)


def _document_of(record: dict[str, Any], origin: str, raw: bytes) -> Document:
    size = len(raw)
    if b"\\u" in raw:  # the one way to half a character
        _check_characters(record, origin)
    if isinstance(text := record.get("text"), str):
        return Document(origin, text, record=record, size=size)
    for words in (record.get("words"), record.get("tokens")):
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return Document(origin, words=tuple(words), record=record, size=size)
    raise CorpusError(f"{origin}: neither a `text` nor a list of `words`. Write one of the two in each object.")


def _check_characters(record: dict[str, Any], origin: str) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{origin}: half a surrogate pair, which UTF-8 does not have. Write the whole character."
        ) from error


def _read_conll(
    lines: Iterable[bytes], path: Path, on_bad_line: OnBadLine, *, columns: ColumnNumbers
) -> Iterator[Document]:
    """Sentences of words in columns; a sentence with a bad line is passed over whole."""
    is_terminal = path == STANDARD_INPUT and sys.stdin.isatty()
    reader = ColumnReader(lines, path, columns, labelled=False, is_terminal=is_terminal)
    first_problem, is_readable = "", False
    for sentence in reader:
        if sentence.problems:
            first_problem = first_problem or sentence.problems[0]
            on_bad_line(CorpusError(sentence.problems[0]))
        else:
            is_readable = True
            yield Document(f"{path}:{sentence.line}", words=tuple(sentence.words), size=sentence.size)
    if first_problem and not is_readable:
        raise CorpusError(f"{first_problem} No sentence of this file can be read.")
