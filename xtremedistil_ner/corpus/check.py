"""A look at a corpus folder before a run: whether it is sound, and what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xtremedistil_ner.corpus.demo import demo_path
from xtremedistil_ner.corpus.folder import (
    SPLITS,
    CorpusFile,
    find_split,
    find_text,
    languages_of,
    read_split,
    read_text,
)
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import spans_of


@dataclass(frozen=True, slots=True)
class SplitStats:
    """What one labelled file holds; `entities` by type."""

    language: str
    split: str
    sentences: int
    words: int
    entities: Mapping[str, int]
    tag_format: str
    repaired_tags: int
    skipped_lines: int


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """Problems of a corpus folder, and the numbers of the files that have none."""

    problems: tuple[str, ...]
    stats: tuple[SplitStats, ...]


def check_corpus(path: str | Path) -> CorpusCheck:
    """Read every file of a corpus folder (or of `demo`), raw text included, and collect what is wrong.

    Raises: CorpusError if `path` is no folder.
    """
    folder = _folder(path)
    problems: list[str] = []
    stats: list[SplitStats] = []
    languages = languages_of(folder)
    if not languages:
        problems.append(f"{folder}: no labelled text. Put files such as en/train.tsv there.")
    for language, split in _splits(languages):
        try:
            stats += _stats(folder, language, split)
        except CorpusError as error:
            problems.append(str(error))
    for language in languages:
        try:
            _read_raw_text(folder, language)
        except CorpusError as error:
            problems.append(str(error))
    return CorpusCheck(tuple(problems), tuple(stats))


def corpus_stats(path: str | Path) -> tuple[SplitStats, ...]:
    """Numbers of every labelled file of a corpus folder (or of `demo`), by language and split.

    Raises: CorpusError for the first file that cannot be read.
    """
    folder = _folder(path)
    return tuple(
        stats for language, split in _splits(languages_of(folder)) for stats in _stats(folder, language, split)
    )


def _folder(path: str | Path) -> Path:
    return demo_path() if str(path) == "demo" else Path(path)


def _splits(languages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((language, split) for language in languages for split in SPLITS)


def _stats(folder: Path, language: str, split: str) -> list[SplitStats]:
    path = find_split(folder, language, split)
    return [_count(read_split(path, language=language), language, split)] if path else []


def _count(file: CorpusFile, language: str, split: str) -> SplitStats:
    entities = Counter(span.type for sentence in file.sentences for span in spans_of(sentence.tags or ()))
    return SplitStats(
        language=language,
        split=split,
        sentences=len(file.sentences),
        words=sum(len(sentence.words) for sentence in file.sentences),
        entities=dict(sorted(entities.items())),
        tag_format=file.tag_format,
        repaired_tags=file.repaired_tags,
        skipped_lines=file.skipped_lines,
    )


def _read_raw_text(folder: Path, language: str) -> None:
    text = find_text(folder, language)
    if text and not any(True for _ in read_text(text, language=language)):
        raise CorpusError(f"{text}: no sentence in this file. Remove it or fill it.")
