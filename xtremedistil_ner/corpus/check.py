"""A look at a corpus before a run: whether it is sound, and what is in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from xtremedistil_ner.corpus.annotation_files import is_brat_folder
from xtremedistil_ner.corpus.folder import (
    find_text,
    is_split_file,
    is_text_file,
    languages_of,
    split_of,
    text_languages,
)
from xtremedistil_ner.corpus.labelled import count_mapped, map_split, open_reader
from xtremedistil_ner.corpus.places import local_folder
from xtremedistil_ner.corpus.raw_text import read_text
from xtremedistil_ner.corpus.reader import CorpusReader
from xtremedistil_ner.corpus.split import SPLITS, LabelledSplit
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import TypeMapping, spans_of
from xtremedistil_ner.recipe.data_sections import ColumnsSection, CorpusSection


@dataclass(frozen=True, slots=True)
class SplitStats:
    """What one labelled file holds; `entities` by type, `mapped` by each type that has become another or none.

    `note` says how it was read where that is not plain.
    """

    language: str
    split: str
    sentences: int
    words: int
    entities: Mapping[str, int]
    tag_format: str
    repaired_tags: int
    skipped_lines: int
    note: str
    mapped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """Problems of a corpus, and the numbers of the labelled files that have none.

    `texts` are the languages with raw text; `unread` are the files that no run reads, because of their names.
    """

    problems: tuple[str, ...]
    stats: tuple[SplitStats, ...]
    texts: tuple[str, ...]
    unread: tuple[str, ...]


def check_corpus(
    path: str | Path, *, columns: ColumnsSection | None = None, types: TypeMapping | None = None
) -> CorpusCheck:
    """Read every file of a corpus folder, of a URL or of `demo`, raw text included, and collect what is wrong.

    `types` maps entity types.
    Raises: CorpusError if `path` is no folder; ResourceError if a URL is out of reach.
    """
    unread: set[str] = set()

    def is_read(name: str) -> bool:
        if not _is_corpus_file(name) and not name.rpartition("/")[2].startswith("."):
            unread.add(name)
        return _is_corpus_file(name)

    folder = local_folder(str(path), is_read)
    labelled, texts = languages_of(folder), text_languages(folder)
    unread |= {name for name in _file_names(folder) if is_read(name) and not _is_there(folder / name)}
    problems: list[str] = []
    stats: list[SplitStats] = []
    if not labelled and not texts:
        problems.append(f"{path}: no labelled and no raw text. Put files such as en/train.tsv or en.txt there.")
    if labelled:
        reader = _reader(path, columns)
        for language, split in _splits(reader):
            try:
                stats += _stats(reader, language, split, types or {})
            except CorpusError as error:
                problems.append(str(error))
    for language in texts:
        try:
            _read_raw_text(folder, language)
        except CorpusError as error:
            problems.append(str(error))
    return CorpusCheck(tuple(problems), tuple(stats), texts, tuple(sorted(unread)))


def corpus_stats(
    path: str | Path, *, columns: ColumnsSection | None = None, types: TypeMapping | None = None
) -> tuple[SplitStats, ...]:
    """Numbers of every labelled file of a corpus folder, of a URL or of `demo`, by language and split.

    `types` maps entity types.
    Raises: CorpusError for the first file that cannot be read; ResourceError if a URL is out of reach.
    """
    reader = _reader(path, columns)
    return tuple(stats for language, split in _splits(reader) for stats in _stats(reader, language, split, types or {}))


def _reader(path: str | Path, columns: ColumnsSection | None) -> CorpusReader:
    return open_reader(CorpusSection(path=str(path), columns=columns or ColumnsSection()))


def _is_corpus_file(name: str) -> bool:
    return is_split_file(name) or is_text_file(name)


def _splits(reader: CorpusReader) -> Iterator[tuple[str, str]]:
    return ((language, split) for language in reader.languages for split in SPLITS)


def _stats(reader: CorpusReader, language: str, split: str, types: TypeMapping) -> list[SplitStats]:
    found = reader.read(language, split)
    if found is None:
        return []
    return [replace(_count(map_split(found, types), language, split), mapped=count_mapped(found, types))]


def _count(found: LabelledSplit, language: str, split: str) -> SplitStats:
    entities = Counter(span.type for sentence in found.sentences for span in spans_of(sentence.tags or ()))
    return SplitStats(
        language=language,
        split=split,
        sentences=len(found.sentences),
        words=sum(len(sentence.words) for sentence in found.sentences),
        entities=dict(sorted(entities.items())),
        tag_format=found.tag_format,
        repaired_tags=found.repaired_tags,
        skipped_lines=found.skipped_lines,
        note=found.note,
    )


def _file_names(folder: Path) -> Iterator[str]:
    """Relative paths of all files of a folder; none of hidden folders."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from ((Path(place) / name).relative_to(folder).as_posix() for name in files)


def _is_there(path: Path) -> bool:
    """Whether a file that is named right is one, and not a link to nothing or a text of a folder that is not brat's."""
    in_split_folder = split_of(path.parent.name) is not None and is_split_file(f"x/{path.parent.name}/{path.name}")
    return path.is_file() and (not in_split_folder or is_brat_folder(path.parent))


def _read_raw_text(folder: Path, language: str) -> None:
    text = find_text(folder, language)
    if text and not sum(1 for _ in read_text(text, language=language)):
        raise CorpusError(f"{text}: no sentence in this file. Remove it or fill it.")
