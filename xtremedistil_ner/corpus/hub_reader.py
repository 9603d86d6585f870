"""Labelled splits and raw text of Hub datasets: columns are checked by name and type, tags are read by name.

The names of numbered tags are looked up, never assumed: in README.md, in the files and in the recipe. If several of
these name them, the names must agree.
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
    ColumnContent,
    Table,
    add_tables,
    class_names,
    column_content,
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
    """The labelled text of a dataset in `languages`, all of which it must have; its files are fetched at once.

    Without `languages`: in those of `section.languages` that the dataset has, or in all that it has.

    Raises: CorpusError if the dataset, a language or a file is missing; ResourceError if the Hub cannot be reached.
    """
    dataset = open_dataset(section.id, section.revision)
    named = languages or section.languages
    available = configs_by_language(dataset, section.config, named, option="corpus.hub")
    missing = [language for language in named if language not in available]
    if missing and (languages or len(missing) == len(named)):
        raise CorpusError(f"{dataset.id}: no language {', '.join(missing)}. There are: {', '.join(available)}.")
    configs = {language: available[language] for language in named or available if language in available}
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
    """The text column of a dataset, by language; the files of a language are fetched when they are read.

    Raises: CorpusError if there is no such dataset; ResourceError if the Hub cannot be reached.
    """
    dataset = open_dataset(section.id, section.revision)
    configs = configs_by_language(dataset, section.config, named, option="transfer.hub")

    def files_of(language: str) -> list[Path]:
        if language not in configs:
            return []
        fetch_splits(dataset, [(configs[language], section.split)])
        files = split_files(dataset, configs[language], section.split)
        if not files:
            raise CorpusError(f"{dataset.location(configs[language], section.split)}: no such split.")
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

    return TextReader(lambda: tuple(configs), read, hash_text, lambda _: None)


def pin_revisions(recipe: Recipe) -> Recipe:
    """The recipe with the current commits in place of branches and tags, so that all stages read the same rows."""
    changes: dict[str, object] = {}
    for name, section in (("corpus", recipe.corpus), ("transfer", recipe.transfer)):
        if section.hub is not None:
            dataset = open_dataset(section.hub.id, section.hub.revision)
            if dataset.is_remote:
                pinned = section.hub.model_copy(update={"revision": dataset.commit})
                changes[name] = section.model_copy(update={"hub": pinned})
    return recipe.model_copy(update=changes)


def _read_split(dataset: HubDataset, section: HubCorpusSection, config: str, split: str) -> SplitRows:
    location = dataset.location(config, split)
    files = split_files(dataset, config, split)
    schema = _schema(files)
    _check_column(schema, section.words, location, "lists of texts", option="corpus.hub.words")
    content = _check_column(
        schema, section.tags, location, "lists of texts", "lists of numbers", option="corpus.hub.tags"
    )
    tag_names = None
    if content == "lists of numbers":
        declared = {"README.md": dataset.class_names(config, section.tags), "corpus.hub.tag_names": section.tag_names}
        schemas = {file.name: parquet_schema(file) for file in files if is_parquet(file)}
        embedded = {name: class_names(schema, section.tags, location) for name, schema in schemas.items()}
        tag_names = _agreed_names({**declared, **embedded}, location, section.tags)
    rows = SplitRows(location, split, ROW)
    tables = _read_tables(files, (section.words, section.tags))
    add_tables(rows, tables, words=section.words, tags=section.tags, tag_names=tag_names)
    return rows


def _read_text(
    dataset: HubDataset, section: HubTextSection, config: str, files: Sequence[Path], language: str
) -> Iterator[Sentence]:
    location = dataset.location(config, section.split)
    _check_column(_schema(files), section.text, location, "texts", "lists of texts", option="transfer.hub.text")
    for number, (text,) in table_rows(_read_tables(files, (section.text,)), (section.text,), location):
        try:
            yield from sentences_of(text, f"{section.split}:{number}", language)
        except CorpusError as error:
            raise CorpusError(f"{location}{ROW}{number}: {error}") from error


def _read_tables(files: Sequence[Path], columns: Sequence[str] | None) -> Iterator[Table]:
    """Rows of some columns (None: of all), in batches, from files of any format.

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
    except StopIteration as error:  # `datasets` raises it for an empty file
        raise CorpusError(f"{files[0]}: no rows. Remove it or fill it.") from error
    except Exception as error:  # one of a dozen parsers raised it
        raise CorpusError(f"{files[0]}: cannot be read ({first_line(error)}). Correct it, or write parquet.") from error


def _schema(files: Sequence[Path]) -> pyarrow.Schema:
    if is_parquet(files[0]):
        return parquet_schema(files[0])
    first = next(_read_tables(files, None), None)
    if first is None:
        raise CorpusError(f"{files[0]}: no rows. Remove it or fill it.")
    return first.schema


def _check_column(
    schema: pyarrow.Schema, column: str, location: str, *expected: ColumnContent, option: str
) -> ColumnContent:
    if column not in schema.names:
        raise CorpusError(f"{location}: no column {column!r} among {shown(schema.names)}. Name it in {option}.")
    content = column_content(schema, column)
    if content not in (*expected, "nulls"):
        raise CorpusError(
            f"{location}: column {column!r} is {schema.field(column).type}, not {' or '.join(expected)}. "
            f"Name another column in {option}."
        )
    return content


def _agreed_names(sources: Mapping[str, tuple[str, ...] | None], location: str, column: str) -> tuple[str, ...]:
    """The names of numbered tags, which must be the same in every source that has them."""
    given = {source: names for source, names in sources.items() if names}
    if not given:
        raise CorpusError(
            f"{location}: column {column!r} has numbers, and nothing names them. List the names in the order of the "
            "numbers in corpus.hub.tag_names, such as [O, B-PER, I-PER]."
        )
    if len(set(given.values())) > 1:
        listed = "; ".join(f"{source}: {' '.join(names)}" for source, names in given.items())
        raise CorpusError(f"{location}: the names of {column!r} differ. {listed}. Correct the wrong ones.")
    return next(iter(given.values()))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
