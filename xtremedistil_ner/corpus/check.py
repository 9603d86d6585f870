"""A check of a corpus before a run: whether it can be read, and what it has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from xtremedistil_ner.corpus.split import SPLITS
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import TypeMapping, spans_of
from xtremedistil_ner.names import require_distinct
from xtremedistil_ner.recipe.data_sections import ColumnsSection, CorpusSection


@dataclass(frozen=True, slots=True)
class SplitStats:
    """What one labelled file has: `entities` by type, `mapped` by each type that is renamed or left out.

    `note` says how the file was read if that is not obvious.
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
    """Problems of a corpus, and the statistics of the labelled files that have none.

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
    Raises: CorpusError if `path` is not a folder or its languages have wrong names; ResourceError if a URL cannot be
    reached.
    """
    unread: set[str] = set()

    def is_read(name: str) -> bool:
        is_named_right = is_split_file(name) or is_text_file(name)
        if not is_named_right and not name.rpartition("/")[2].startswith("."):
            unread.add(name)
        return is_named_right

    folder = local_folder(str(path), is_read)
    labelled, texts = languages_of(folder), text_languages(folder)
    require_distinct((*labelled, *texts), path)
    unread |= {name for name in _file_names(folder) if is_read(name) and not _is_readable(folder / name)}
    problems: list[str] = []
    stats: list[SplitStats] = []
    if not labelled and not texts:
        problems.append(f"{path}: no labelled and no raw text. Put files such as en/train.tsv or en.txt there.")
    for reader, language, split in _splits(path, columns) if labelled else ():
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
    """Statistics of every labelled file of a corpus folder, of a URL or of `demo`, by language and split.

    `types` maps entity types.
    Raises: CorpusError for the first file that cannot be read; ResourceError if a URL cannot be reached.
    """
    return tuple(stats for source in _splits(path, columns) for stats in _stats(*source, types or {}))


def _splits(path: str | Path, columns: ColumnsSection | None) -> Iterator[tuple[CorpusReader, str, str]]:
    reader = open_reader(CorpusSection(path=str(path), columns=columns or ColumnsSection()))
    return ((reader, language, split) for language in reader.languages for split in SPLITS)


def _stats(reader: CorpusReader, language: str, split: str, types: TypeMapping) -> list[SplitStats]:
    """The statistics of a split; none if the language lacks it."""
    written = reader.read(language, split)
    if written is None:
        return []
    sentences = map_split(written, types).sentences
    entities = Counter(span.type for sentence in sentences for span in spans_of(sentence.tags or ()))
    stats = SplitStats(
        language=language,
        split=split,
        sentences=len(sentences),
        words=sum(len(sentence.words) for sentence in sentences),
        entities=dict(sorted(entities.items())),
        tag_format=written.tag_format,
        repaired_tags=written.repaired_tags,
        skipped_lines=written.skipped_lines,
        note=written.note,
        mapped=count_mapped(written, types),
    )
    return [stats]


def _file_names(folder: Path) -> Iterator[str]:
    """Relative paths of all files of a folder, except those in hidden folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from ((Path(parent) / name).relative_to(folder).as_posix() for name in files)


def _is_readable(path: Path) -> bool:
    """Whether a path with the name of a corpus file is no broken link, and no text in a folder without brat's files."""
    in_split_folder = split_of(path.parent.name) is not None and is_split_file(f"x/{path.parent.name}/{path.name}")
    return path.is_file() and (not in_split_folder or is_brat_folder(path.parent))


def _read_raw_text(folder: Path, language: str) -> None:
    text = find_text(folder, language)
    if text and not sum(1 for _ in read_text(text, language=language)):
        raise CorpusError(f"{text}: no sentence in this file. Remove it or fill it.")
