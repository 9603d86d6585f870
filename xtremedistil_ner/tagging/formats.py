"""What `xner tag` writes: JSON lines, columns, brat's stand-off annotation, or text with colours for a terminal."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import CorpusError, UsageError, quoted
from xtremedistil_ner.tagging.documents import Document, OnBadLine
from xtremedistil_ner.tagging.entity_filter import KEEP_ALL, EntityFilter
from xtremedistil_ner.tagging.tag_documents import TaggedDocument, tag_documents
from xtremedistil_ner.tagging.tagger import Tagger

OutputFormat = Literal["jsonl", "conll", "brat", "terminal"]
LINE_FORMATS: tuple[OutputFormat, ...] = ("jsonl", "conll")
"""The formats in which what is written of a document does not depend on those before it."""
_WHITE_SPACE = re.compile(r"\s")
_UNSPLIT = re.compile("[\x1c-\x1f]")
"""White space to Python that does not separate words."""
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_STYLES = ("36", "33", "35", "32", "34", "31")  # cyan, yellow, magenta, green, blue, red


@dataclass(frozen=True, slots=True)
class TaggedLines:
    """A document as it is written. Units: `size` counts the bytes that were read for it."""

    text: str
    words: int
    size: int


def writable(documents: Iterable[Document], form: OutputFormat, *, on_bad_line: OnBadLine) -> Iterator[Document]:
    """The documents that a format can hold; `on_bad_line` hears of the others."""
    for document in documents:
        try:
            if form == "conll" and (document.text is None or _UNSPLIT.search(document.text)):
                words = document.words or [word for word, _, _ in split_words(document.text or "")]
                _require_no_white_space(words, document.origin)
        except CorpusError as error:
            on_bad_line(error)
        else:
            yield document


def tag_lines(
    tagger: Tagger,
    documents: Iterable[Document],
    form: OutputFormat,
    *,
    batch: int,
    keep: EntityFilter = KEEP_ALL,
    colours: bool = False,
) -> Iterator[TaggedLines]:
    """Tag and format documents in order; at most `batch` are held at a time.

    Raises: as `tag_documents` and `format_tagged`.
    """
    sizes: deque[tuple[int, int]] = deque()

    def noted() -> Iterator[TaggedDocument]:
        for tagged in tag_documents(tagger, documents, batch=batch, keep=keep):
            sizes.append((len(tagged.words), tagged.document.size))
            yield tagged

    for text in format_tagged(form, noted(), colours=colours):
        yield TaggedLines(text, *sizes.popleft())


def format_tagged(form: OutputFormat, tagged: Iterable[TaggedDocument], *, colours: bool = True) -> Iterator[str]:
    """The text of each document in turn, line ends included.

    Raises: CorpusError with its origin, for a document that the format cannot hold.
    """
    formats: dict[OutputFormat, Callable[[Iterable[TaggedDocument]], Iterator[str]]] = {
        "jsonl": lambda documents: map(_format_json, documents),
        "conll": lambda documents: map(_format_columns, documents),
        "brat": _format_brat,
        "terminal": lambda documents: _format_terminal(documents, colours=colours),
    }
    return formats[form](tagged)


def _format_json(tagged: TaggedDocument) -> str:
    """The object that the document came in, with its `tags` or `entities`; other keys stay as they are."""
    document = tagged.document
    value: Mapping[str, Any]
    if document.text is None:
        value = {**(document.record or {"words": document.words}), "tags": tagged.tags}
    else:
        entities = [asdict(entity) for entity in tagged.entities]
        value = {**(document.record or {"text": document.text}), "entities": entities}
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _format_columns(tagged: TaggedDocument) -> str:
    words = [word for word, _, _ in tagged.words]
    _require_no_white_space(words, tagged.document.origin)
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tagged.tags, strict=True)) + "\n"


def _require_no_white_space(words: Iterable[str], origin: str) -> None:
    for word in words:
        if not word or _WHITE_SPACE.search(word):
            raise CorpusError(f"{origin}: word {quoted(word)} has no place in a column. Write it as jsonl instead.")


def _format_brat(documents: Iterable[TaggedDocument]) -> Iterator[str]:
    """The `.ann` of a text file; its places are those of the whole file."""
    number = 0
    for tagged in documents:
        offset = tagged.document.offset
        if offset is None:
            raise UsageError(f"{tagged.document.origin}: brat counts places in a file of plain text. Give such a file.")
        lines = []
        for entity in tagged.entities:
            number += 1
            borders = f"{offset + entity.start} {offset + entity.end}"
            lines.append(f"T{number}\t{entity.type} {borders}\t{_WHITE_SPACE.sub(' ', entity.text)}\n")
        yield "".join(lines)


def _format_terminal(documents: Iterable[TaggedDocument], *, colours: bool) -> Iterator[str]:
    """Entities in brackets with their types, each type in a colour of its own; controls shown and not obeyed."""
    styles: dict[str, str] = {}
    for tagged in documents:
        text, spans = _text_and_spans(tagged)
        end, parts = 0, []
        for start, stop, kind in spans:
            style = styles.setdefault(kind, _STYLES[len(styles) % len(_STYLES)])
            entity = f"[{_visible(text[start:stop])} {kind}]"
            parts += [_visible(text[end:start]), f"\x1b[1;{style}m{entity}\x1b[0m" if colours else entity]
            end = stop
        yield "".join(parts) + _visible(text[end:]) + "\n"


def _text_and_spans(tagged: TaggedDocument) -> tuple[str, list[tuple[int, int, str]]]:
    if tagged.document.text is not None:
        return tagged.document.text, [(entity.start, entity.end, entity.type) for entity in tagged.entities]
    spans: list[tuple[int, int, str]] = []
    start = 0
    for (word, _, _), tag in zip(tagged.words, tagged.tags, strict=True):
        if tag.startswith("B-"):
            spans.append((start, start + len(word), tag[2:]))
        elif tag != "O":
            spans[-1] = (spans[-1][0], start + len(word), tag[2:])
        start += len(word) + 1
    return " ".join(word for word, _, _ in tagged.words), spans


def _visible(text: str) -> str:
    """Control characters as pictures of themselves: text must not move the cursor or rename the window."""
    return _CONTROL.sub(lambda match: chr(0x2400 + ord(match[0])) if ord(match[0]) < 0x20 else "\ufffd", text)
