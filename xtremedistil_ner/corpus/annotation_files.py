"""Labelled splits in the files of brat and of spaCy: entities by character offsets, but not as JSON.

brat keeps a `.ann` file beside each `.txt` file of a folder. Its lines with `T` are entities; relations, events,
attributes and notes are skipped and counted. spaCy reads its own `.spacy` files, so that only their users need it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xtremedistil_ner.corpus.annotations import AnnotatedText, TextSpan, add_annotated, make_span
from xtremedistil_ner.corpus.hashes import file_hash
from xtremedistil_ner.corpus.split import LINE, ROW, LabelledSplit, SplitRows
from xtremedistil_ner.corpus.streams import open_text, read_whole
from xtremedistil_ner.errors import CorpusError, first_line, quoted

if TYPE_CHECKING:
    from spacy.tokens import Doc

ANNOTATION, TEXT = ".ann", ".txt"
_DOCUMENT = ", document "
_ENTITY = re.compile(r"T\S*\t(\S+) (\d{1,15} \d{1,15}(?:;\d{1,15} \d{1,15})*)\t(.*)")


def is_brat_folder(path: Path) -> bool:
    """Whether a path is a folder with annotations of brat."""
    return path.is_dir() and next(path.glob(f"[!.]*{ANNOTATION}"), None) is not None


def brat_hash(folder: Path) -> str:
    """SHA-256 of the names and bytes that decide the sentences of a folder."""
    files = [(path.name, file_hash(path)) for path in _brat_files(folder)]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def read_brat(folder: Path, *, language: str) -> LabelledSplit:
    """Read the annotated texts of a folder, in the order of their file names.

    Raises: CorpusError with the first problems of its files, each as `file:line`.
    """
    rows = SplitRows(str(folder), folder.name, _DOCUMENT)
    files = _brat_files(folder)
    texts: list[AnnotatedText] = []
    for number, text in enumerate(path for path in files if path.suffix == TEXT):
        try:
            content = read_whole(text)
            if content.startswith("\ufeff"):  # brat counts a byte order mark, as editors do
                content = f" {content[1:]}"
            texts.append(AnnotatedText(number, content, tuple(_brat_spans(text, rows))))
        except CorpusError as error:
            rows.problems.append(str(error))
    textless = [path for path in files if path.suffix == ANNOTATION and path.with_suffix(TEXT) not in files]
    rows.problems += [f"{path}: no {path.stem}{TEXT} beside it. Put the text there." for path in textless]
    add_annotated(rows, texts)
    return rows.finish(language)


def read_spacy(path: Path, *, language: str) -> LabelledSplit:
    """Read the documents of a `DocBin`: their texts and `ents`, but not spaCy's tokens.

    Raises: CorpusError for a damaged file; ModuleNotFoundError without spaCy.
    """
    rows = SplitRows(str(path), path.name, ROW)
    texts = []
    for number, doc in enumerate(_spacy_docs(path)):
        rows.spans["other"] += sum(map(len, doc.spans.values()))
        if not doc.has_annotation("ENT_IOB"):
            rows.pass_over("without annotations of entities")
            continue
        try:
            spans = [make_span(e.start_char, e.end_char, e.label_, f"{path}{ROW}{number}") for e in doc.ents]
        except CorpusError as error:
            rows.report(number, str(error))
        else:
            texts.append(AnnotatedText(number, doc.text, tuple(spans)))
    add_annotated(rows, texts)
    return rows.finish(language)


def _brat_files(folder: Path) -> list[Path]:
    named = (path for path in folder.iterdir() if path.suffix in (ANNOTATION, TEXT) and path.name[0] != ".")
    return sorted(path for path in named if path.is_file())


def _brat_spans(text: Path, rows: SplitRows) -> Iterator[TextSpan]:
    path = text.with_suffix(ANNOTATION)
    if not path.is_file():
        raise CorpusError(f"{text}: no {path.name} beside it. Annotate the text, or leave an empty file.")
    for number, line in enumerate(open_text(path), start=1):
        location = f"{path}{LINE}{number}"
        try:
            span = _brat_span(line, location, rows)
        except CorpusError as error:
            rows.problems.append(f"{location}: {error}")
        else:
            if span:
                yield span


def _brat_span(line: str, location: str, rows: SplitRows) -> TextSpan | None:
    """The entity of a line; None for a line that has none and for a discontinuous entity, which are counted."""
    if not line.startswith("T"):
        rows.skipped_lines += bool(line.strip())
        return None
    match = _ENTITY.fullmatch(line)
    if match is None:
        raise CorpusError(f"{quoted(line)} is no entity. Write T1, type and offsets, and text, separated by tabs.")
    entity_type, offsets, content = match.groups()
    if ";" in offsets:
        rows.spans["discontinuous"] += 1
        return None
    start, end = map(int, offsets.split(" "))
    return make_span(start, end, entity_type, location, content)


def _spacy_docs(path: Path) -> list[Doc]:
    import spacy
    from spacy.tokens import DocBin

    try:
        return list(DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # zlib, msgpack, numpy or spaCy raised it
        raise CorpusError(f"{path}: no file of spaCy ({quoted(first_line(error))}). Write the DocBin again.") from error
