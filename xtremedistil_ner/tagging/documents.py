"""What `xner tag` reads: a text a line, a JSON object a line, or words in columns, from files or standard input.

A bad line ends everything, with its file and line, or is passed over and told, as the caller wants.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NoReturn

from xtremedistil_ner.corpus.json_lines import parse_record
from xtremedistil_ner.corpus.split import is_tag
from xtremedistil_ner.corpus.streams import COMPRESSIONS, decode_line, open_raw
from xtremedistil_ner.errors import CorpusError

InputFormat = Literal["text", "jsonl", "conll"]
OnBadLine = Callable[[CorpusError], None]
STANDARD_INPUT = Path("<stdin>")
_FORMAT_OF: dict[str, InputFormat] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".conll": "conll", ".tsv": "conll"}
_DOCUMENT_MARK = "-DOCSTART-"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATOR = re.compile("[\t ]")


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a sentence of words and then no text, and where it stood.

    `record` is the JSON object that it came in. Units: `offset` is where a text begins in a file of plain text, in code
    points; `size` counts the bytes that were read for it.
    """

    place: str
    text: str | None = None
    words: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    offset: int | None = None
    size: int = 0


def read_documents(
    files: Sequence[Path], form: InputFormat | None = None, *, on_bad_line: OnBadLine | None = None
) -> Iterator[Document]:
    """The documents of some files in order; of standard input when there is none.

    Without a `form` the file name decides. `on_bad_line` hears of each line that is passed over.

    Raises: CorpusError for a missing or damaged file and, without `on_bad_line`, for the first bad line.
    """
    readers = {"text": _read_text, "jsonl": _read_jsonl, "conll": _read_conll}
    for path in files or (STANDARD_INPUT,):
        lines: Iterable[bytes] = sys.stdin.buffer if path == STANDARD_INPUT else open_raw(path)
        yield from readers[form or format_of(path)](lines, path, on_bad_line or _stop)


def format_of(path: Path) -> InputFormat:
    """The format that a file's name tells, compressed or not; text if it tells none."""
    suffixes = [suffix for suffix in path.suffixes if suffix not in COMPRESSIONS]
    return _FORMAT_OF.get(suffixes[-1], "text") if suffixes else "text"


def _stop(error: CorpusError) -> NoReturn:
    raise error


def _read_text(lines: Iterable[bytes], path: Path, on_bad_line: OnBadLine) -> Iterator[Document]:
    offset = 0
    for number, raw in enumerate(lines, start=1):
        mark = int(number == 1 and raw.startswith(_BYTE_ORDER_MARK))
        try:
            text = decode_line(raw, path, number)
        except CorpusError as error:
            on_bad_line(error)
        else:
            yield Document(f"{path}:{number}", text, offset=offset + mark, size=len(raw))
        offset += len(raw.decode("utf-8", "replace"))


def _read_jsonl(lines: Iterable[bytes], path: Path, on_bad_line: OnBadLine) -> Iterator[Document]:
    for number, raw in enumerate(lines, start=1):
        try:
            record = parse_record(raw, path, number)
            if record is not None:
                yield _document_of(record, f"{path}:{number}", raw)
        except CorpusError as error:
            on_bad_line(error)


def _document_of(record: dict[str, Any], place: str, raw: bytes) -> Document:
    size = len(raw)
    if b"\\u" in raw:  # the one way to half a character
        _check_characters(record, place)
    if isinstance(text := record.get("text"), str):
        return Document(place, text, record=record, size=size)
    for words in (record.get("words"), record.get("tokens")):
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return Document(place, words=tuple(words), record=record, size=size)
    raise CorpusError(f"{place}: neither a `text` nor a list of `words`. Write one of the two in each object.")


def _check_characters(record: dict[str, Any], place: str) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{place}: half a surrogate pair, which UTF-8 does not have. Write the whole character."
        ) from error


def _read_conll(lines: Iterable[bytes], path: Path, on_bad_line: OnBadLine) -> Iterator[Document]:
    """Sentences of words, the first column of each line; a sentence with a bad line is passed over whole."""
    words: list[str] = []
    first, size, is_bad = 0, 0, False
    for number, raw in enumerate(chain(lines, (b"",)), start=1):
        size += len(raw)
        try:
            line = decode_line(raw, path, number)
            ends = not line.strip(" ") or line.startswith(_DOCUMENT_MARK)
            if not ends and not _is_comment(line):
                first = first if words else number
                words.append(_word_of(line, f"{path}:{number}"))
        except CorpusError as error:
            on_bad_line(error)
            is_bad = True
            continue
        if ends:
            if words and not is_bad:
                yield Document(f"{path}:{first}", words=tuple(words), size=size)
                size = 0
            words, is_bad = [], False


def _is_comment(line: str) -> bool:
    """`# text = …` is one; `#` alone is a word, and so is that of `# NN O`."""
    return line.startswith("# ") and "\t" not in line and not is_tag(line.rpartition(" ")[2])


def _word_of(line: str, place: str) -> str:
    word = _SEPARATOR.split(line, maxsplit=1)[0]
    if not word or "\r" in word:
        raise CorpusError(f"{place}: no word in the first column. Write the word first, then a tab.")
    return word
