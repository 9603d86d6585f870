"""Labelled splits and raw text of Hub datasets: columns are checked by name and type, tags are read by name.

What the numbers of a tag column stand for is looked up, never assumed: in README.md, in the files, in the recipe. Where
two of them speak, they must agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xtremedistil_ner.corpus.hub import HubDataset, configs_by_language, fetch_splits, open_dataset, split_files
from xtremedistil_ner.corpus.raw_text import is_parquet, sentences_of
from xtremedistil_ner.corpus.reader import CorpusReader, TextReader
from xtremedistil_ner.corpus.records import (
    ColumnKind,
    add_tables,
    class_names,
    column_kind,
    parquet_batches,
    parquet_schema,
    shown,
    table_rows,
)
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.split import ROW, SPLITS, LabelledSplit, SplitRows
from xtremedistil_ner.errors import CorpusError, first_line
from xtremedistil_ner.recipe.data_sections import HubCorpusSection, HubTextSection
from xtremedistil_ner.recipe.schema import Recipe

if TYPE_CHECKING:
    import pyarrow

_READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".txt": "text", ".arrow": "arrow"}
_BATCH_ROWS = 1024


def hub_reader(section: HubCorpusSection, languages: Sequence[str]) -> CorpusReader:
    """The labelled text of a dataset, whose files are fetched now: of `languages`, all of which must be there.

    Without any, of those of `section.languages` that the dataset has, or of all that it has.

    Raises: CorpusError if the dataset, a language or a file is missing; ResourceError if the Hub is out of reach.
    """
    dataset = open_dataset(section.id, section.revision)
    named = languages or section.languages
    there = configs_by_language(dataset, section.config, named, option="corpus.hub")
    missing = [language for language in named if language not in there]
    if missing and (languages or len(missing) == len(named)):
        raise CorpusError(f"{dataset.id}: no language {', '.join(missing)}. There are: {', '.join(there)}.")
    configs = {language: there[language] for language in named or there if language in there}
    names = {"train": section.train, "dev": section.dev, "test": section.test}
    fetch_splits(dataset, [(config, names[split]) for config in configs.values() for split in SPLITS])

    def has(language: str, split: str) -> bool:
        return language in configs and bool(split_files(dataset, configs[language], names[split]))

    def read(language: str, split: str) -> LabelledSplit | None:
        if not has(language, split):
            return None
        return _read_split(dataset, section, configs[language], names[split]).finish(language)

    @cache
    def hash_split(language: str, split: str) -> str | None:
        if not has(language, split):
            return None
        declared = dataset.class_names(configs[language], section.tags)
        columns = [section.words, section.tags, section.tag_names, declared]
        return _digest(dataset.identity(configs[language], names[split]), columns)

    def revision() -> str:
        return _digest([hash_split(language, split) for language in configs for split in SPLITS])[:40]

    source = {"hub": dataset.id, "revision": dataset.commit or revision()}
    return CorpusReader(dataset.id, source, tuple(configs), has, read, hash_split)


def hub_texts(section: HubTextSection, named: Sequence[str]) -> TextReader:
    """The text column of a dataset, by language; files of a language are fetched when they are read.

    Raises: CorpusError if there is no such dataset; ResourceError if the Hub is out of reach.
    """
    dataset = open_dataset(section.id, section.revision)
    configs = configs_by_language(dataset, section.config, named, option="transfer.hub")

    def files_of(language: str) -> list[Path]:
        if language not in configs:
            return []
        fetch_splits(dataset, [(configs[language], section.split)])
        files = split_files(dataset, configs[language], section.split)
        if not files:
            raise CorpusError(f"{_place(dataset, configs[language], section.split)}: no such split.")
        return files

    def read(language: str) -> Iterator[Sentence]:
        files = files_of(language)
        return _read_text(dataset, section, configs[language], files, language) if files else iter(())

    def hash_text(language: str) -> str | None:
        if language not in configs:
            return None
        if dataset.commit is None:
            files_of(language)
        return _digest(dataset.identity(configs[language], section.split), section.text)

    return TextReader(lambda: tuple(configs), read, hash_text)


def pin_revisions(recipe: Recipe) -> Recipe:
    """The recipe with the commits that its branches and tags of datasets stand for now: all stages read the same."""
    changes: dict[str, object] = {}
    for name, section in (("corpus", recipe.corpus), ("transfer", recipe.transfer)):
        if section.hub is not None:
            dataset = open_dataset(section.hub.id, section.hub.revision)
            if dataset.is_remote:
                pinned = section.hub.model_copy(update={"revision": dataset.commit})
                changes[name] = section.model_copy(update={"hub": pinned})
    return recipe.model_copy(update=changes)


def _read_split(dataset: HubDataset, section: HubCorpusSection, config: str, split: str) -> SplitRows:
    place = _place(dataset, config, split)
    files = split_files(dataset, config, split)
    schema = _schema(files)
    _check_column(schema, section.words, place, option="corpus.hub.words", kinds=("lists of texts",))
    kind = _check_column(
        schema, section.tags, place, option="corpus.hub.tags", kinds=("lists of texts", "lists of numbers")
    )
    tag_names = None
    if kind == "lists of numbers":
        declared = {"README.md": dataset.class_names(config, section.tags), "corpus.hub.tag_names": section.tag_names}
        embedded = {
            file.name: class_names(parquet_schema(file), section.tags, place) for file in files if is_parquet(file)
        }
        tag_names = _agreed_names({**declared, **embedded}, place, section.tags)
    rows = SplitRows(place, split, ROW)
    tables = read_tables(files, (section.words, section.tags))
    add_tables(rows, tables, words=section.words, tags=section.tags, tag_names=tag_names)
    return rows


def _read_text(
    dataset: HubDataset, section: HubTextSection, config: str, files: Sequence[Path], language: str
) -> Iterator[Sentence]:
    place = _place(dataset, config, section.split)
    _check_column(_schema(files), section.text, place, option="transfer.hub.text", kinds=("texts", "lists of texts"))
    for number, (text,) in table_rows(read_tables(files, (section.text,)), (section.text,), place):
        try:
            yield from sentences_of(text, f"{section.split}:{number}", language)
        except CorpusError as error:
            raise CorpusError(f"{place}{ROW}{number}: {error}") from error


def read_tables(files: Sequence[Path], columns: Sequence[str] | None) -> Iterator[pyarrow.RecordBatch | pyarrow.Table]:
    """Rows of some columns (None: of all), a thousand at a time, whatever the format of the files.

    Raises: CorpusError for a damaged file and for a format that cannot be read.
    """
    if all(map(is_parquet, files)):
        for file in files:
            yield from parquet_batches(file, columns)
        return
    formats = {next((suffix for suffix in reversed(file.suffixes) if suffix in _READERS), "") for file in files}
    reader = _READERS.get(formats.pop()) if len(formats) == 1 else None
    if reader is None:
        raise CorpusError(
            f"{files[0]}: no table that is read here. Give a dataset of parquet, json, csv, txt or arrow files; "
            "many others have a parquet copy: set revision to refs/convert/parquet."
        )
    from datasets import load_dataset

    try:
        rows = load_dataset(reader, data_files={"rows": [str(file) for file in files]}, split="rows", streaming=True)
        for table in rows.with_format("arrow").iter(_BATCH_ROWS):
            yield table if columns is None else table.select(list(columns))
    except StopIteration as error:  # what `datasets` raises of a file that is empty
        raise CorpusError(f"{files[0]}: no rows. Remove it or fill it.") from error
    except Exception as error:  # of a dozen parsers
        raise CorpusError(f"{files[0]}: cannot be read ({first_line(error)}). Mend it, or write parquet.") from error


def _schema(files: Sequence[Path]) -> pyarrow.Schema:
    if is_parquet(files[0]):
        return parquet_schema(files[0])
    first = next(read_tables(files, None), None)
    if first is None:
        raise CorpusError(f"{files[0]}: no rows. Remove it or fill it.")
    return first.schema


def _check_column(
    schema: pyarrow.Schema, column: str, place: str, *, option: str, kinds: Sequence[ColumnKind]
) -> ColumnKind:
    if column not in schema.names:
        raise CorpusError(f"{place}: no column {column!r} among {shown(schema.names)}. Name it in {option}.")
    kind = column_kind(schema, column)
    if kind not in (*kinds, "nulls"):
        raise CorpusError(
            f"{place}: column {column!r} is {schema.field(column).type}, not {' or '.join(kinds)}. "
            f"Name another column in {option}."
        )
    return kind


def _agreed_names(given: Mapping[str, tuple[str, ...] | None], place: str, column: str) -> tuple[str, ...]:
    """The names of numbered tags, by who gives them; all must say the same."""
    found = {origin: names for origin, names in given.items() if names}
    if not found:
        raise CorpusError(
            f"{place}: column {column!r} has numbers, and nothing says what they stand for. Name them in their order "
            "in corpus.hub.tag_names, such as [O, B-PER, I-PER]."
        )
    if len(set(found.values())) > 1:
        said = "; ".join(f"{origin}: {' '.join(names)}" for origin, names in found.items())
        raise CorpusError(
            f"{place}: the names of {column!r} contradict each other. {said}. Correct those in the wrong."
        )
    return next(iter(found.values()))


def _place(dataset: HubDataset, config: str, split: str) -> str:
    return f"{dataset.id}, config {config}, split {split}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
