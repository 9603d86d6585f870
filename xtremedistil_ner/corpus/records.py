"""Records of `.jsonl`, `.json` and `.parquet` files, and labelled splits made of them.

A record has the words of one sentence (`words` or `tokens`) and its tags (`tags` or `ner_tags`) by name, or is an
annotation tool's (`annotated_records.py`); other keys are ignored. pyarrow reads parquet files 64 rows at a time; it is
imported only where it is needed, because that takes 0.1 s.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from xtremedistil_ner.corpus.annotated_records import is_annotated, read_annotated
from xtremedistil_ner.corpus.annotations import AnnotatedText, add_annotated
from xtremedistil_ner.corpus.json_lines import parse_json, parse_record
from xtremedistil_ner.corpus.split import ROW, LabelledSplit, SplitRows
from xtremedistil_ner.corpus.streams import open_raw, read_whole
from xtremedistil_ner.errors import CorpusError, first_line, quoted

if TYPE_CHECKING:
    import pyarrow

ColumnContent = Literal["texts", "lists of texts", "lists of numbers", "nulls", "others"]
Table: TypeAlias = "pyarrow.RecordBatch | pyarrow.Table"
WORD_COLUMNS = ("words", "tokens")
TAG_COLUMNS = ("tags", "ner_tags")
_BATCH_ROWS = 64
"""A column with one word of 1 MB in a dictionary takes 300 MB with 64 rows and 2.4 GB with 1,024, in the same time."""
_BUFFER_BYTES = 1 << 20
_MOST_EXPANDED_BYTES = 1 << 28
_MOST_ROWS, _MOST_ROWS_PER_BYTE = 1 << 20, 10
_MOST_NAMES, _LONGEST_NAME = 10, 80


def read_jsonl(path: Path, *, language: str) -> LabelledSplit:
    """Read a labelled file with one JSON object a line.

    Raises: CorpusError with the first problems of the file, each as `file:line`.
    """
    rows = SplitRows(str(path), path.name)
    _add_records(rows, _json_lines(path))
    return rows.finish(language)


def read_json(path: Path, *, language: str) -> LabelledSplit:
    """Read a labelled file that is a JSON list of objects, or one that has an object on each line after all.

    Raises: CorpusError with the first problems of the file, each with its position in the list.
    """
    text = read_whole(path).removeprefix("\ufeff")
    if not text.lstrip().startswith("["):
        return read_jsonl(path, language=language)
    try:
        records = parse_json(text)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg}). Export it again.") from error
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from error
    rows = SplitRows(str(path), path.name, ROW)
    _add_records(rows, enumerate(records))
    return rows.finish(language)


def read_parquet(path: Path, *, language: str) -> LabelledSplit:
    """Read a labelled table. Numbered tags need their names, which `datasets` writes into the file.

    Raises: CorpusError with the first problems of the file, each with its row.
    """
    schema = parquet_schema(path)
    try:
        words, tags = (choose_column(schema.names, names) for names in (WORD_COLUMNS, TAG_COLUMNS))
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from error
    tag_names = class_names(schema, tags, str(path))
    if tag_names is None and column_content(schema, tags) == "lists of numbers":
        raise CorpusError(
            f"{path}: column {tags} has numbers, and the file does not name them. Write tags such as B-LOC, or give "
            "the folder as corpus.hub.id with corpus.hub.tag_names."
        )
    rows = SplitRows(str(path), path.name, ROW)
    add_tables(rows, parquet_batches(path, (words, tags)), words=words, tags=tags, tag_names=tag_names)
    return rows.finish(language)


def add_tables(
    rows: SplitRows, tables: Iterable[Table], *, words: str, tags: str, tag_names: Sequence[str] | None
) -> None:
    """Take the sentences of consecutive tables until too many problems are noted."""
    try:
        for number, (sentence, tagging) in table_rows(tables, (words, tags), rows.name):
            rows.add_record(number, sentence, tagging, tag_names=tag_names)
            if rows.are_hopeless:
                return
    except CorpusError as error:
        rows.problems.append(str(error))


def table_rows(
    tables: Iterable[Table], columns: Sequence[str], location: str
) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Rows of consecutive tables, numbered from 0, as the values of some columns.

    Raises: CorpusError that names `location` and the first row without a value in Python.
    """
    number = 0
    for table in tables:
        try:
            for values in zip(*(_column_values(table, column) for column in columns), strict=True):
                yield number, values
                number += 1
        except CorpusError as error:
            raise CorpusError(f"{location}{ROW}{number}: {error}") from error


def _column_values(table: Table, column: str) -> Iterable[object]:
    if column not in table.schema.names:  # the second file of a split may lack it
        raise CorpusError(f"no column {column!r} in this file of several. Give all files the same columns.")
    values = table.column(column)
    try:
        return list(values.to_pylist())
    except Exception:  # text that is not UTF-8, dates beyond Python's, …: find the row
        return (_value(scalar, column) for scalar in values)


def _value(scalar: pyarrow.Scalar, column: str) -> object:
    try:
        return scalar.as_py()
    except Exception as error:
        problem = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({first_line(error)})"
        raise CorpusError(f"column {column!r} {problem}. Write the column again, as text in UTF-8.") from error


def choose_column(present: Collection[str], names: Sequence[str]) -> str:
    """The one of several column names that is present.

    Raises: CorpusError if none or more than one is; the caller adds the location.
    """
    matches = [name for name in names if name in present]
    if len(matches) != 1:
        problem = f"both {' and '.join(matches)}" if matches else f"neither {' nor '.join(names)}"
        raise CorpusError(f"there is {problem} among {shown(present)}. Give one of them.")
    return matches[0]


def shown(names: Collection[str]) -> str:
    """Foreign names as a message lists them: at most ten, each cut after 80 characters."""
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    first = (name[:_LONGEST_NAME] for name in islice(names, _MOST_NAMES))
    return ", ".join([*(name if name.isprintable() else repr(name) for name in first), *more]) or "none"


def parquet_schema(path: Path) -> pyarrow.Schema:
    """Columns of a table.

    Raises: CorpusError for a missing or damaged file, and for two columns of one name.
    """
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
        names = schema.names
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: no such file. Give a parquet file.") from error
    except Exception as error:  # the parser in C++ raises its own errors, and others for text that is not UTF-8
        raise _damaged(path, error) from error
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CorpusError(f"{path}: two columns are called {quoted(twice)}. Rename one of them.")
    return schema


def parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pyarrow.RecordBatch]:
    """Rows of some columns (None: of all) of a table, in order; memory does not grow with the file.

    Raises: CorpusError for a damaged file.
    """
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            _check_expansion(path, file.metadata)
            yield from file.iter_batches(_BATCH_ROWS, columns=columns and list(columns), use_threads=False)
    except CorpusError:
        raise
    except Exception as error:  # the parser in C++ raises its own errors
        raise _damaged(path, error) from error


def _check_expansion(path: Path, metadata: pyarrow.parquet.FileMetaData) -> None:
    """Refuse a small file that would fill the memory."""
    size = path.stat().st_size
    if metadata.num_rows > max(_MOST_ROWS, _MOST_ROWS_PER_BYTE * size):  # run lengths do not count as compression below
        raise CorpusError(f"{path}: {metadata.num_rows:,} rows in {size:,} bytes, which text never has.")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(metadata.num_columns)):
            packed, whole = chunk.total_compressed_size, chunk.total_uncompressed_size
            if whole > max(_MOST_EXPANDED_BYTES, 1000 * packed):
                raise CorpusError(
                    f"{path}: column {chunk.path_in_schema!r} expands from {packed} to {whole} bytes. Write it in "
                    "smaller row groups."
                )


def column_content(schema: pyarrow.Schema, column: str) -> ColumnContent:
    """What a column has, so far as words and tags are concerned; `nulls` if it has no values at all."""
    import pyarrow

    column_type = schema.field(column).type
    is_list = isinstance(column_type, pyarrow.ListType | pyarrow.LargeListType | pyarrow.FixedSizeListType)
    value = column_type.value_type if is_list else column_type
    if pyarrow.types.is_null(value):
        return "nulls"
    if pyarrow.types.is_string(value) or pyarrow.types.is_large_string(value):
        return "lists of texts" if is_list else "texts"
    return "lists of numbers" if is_list and pyarrow.types.is_integer(value) else "others"


def class_names(schema: pyarrow.Schema, column: str, location: str) -> tuple[str, ...] | None:
    """Names of a column's numbers, in order, if `datasets` wrote them into the file; else None.

    Raises: CorpusError that names `location` if they cannot be read.
    """
    if b"huggingface" not in (schema.metadata or {}):
        return None
    from datasets import Features  # 1 s

    try:
        return feature_names(Features.from_arrow_schema(schema).get(column))
    except Exception as error:  # `datasets` checks little of the metadata
        raise CorpusError(
            f"{location}: column {column!r}: the metadata `huggingface`, which names tags, cannot be read "
            f"({quoted(first_line(error))}). Write the file again."
        ) from error


def feature_names(feature: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - one of many classes of `datasets`
    """Names of class labels in a list column, in order; None for any other feature of `datasets`."""
    names = getattr(getattr(feature, "feature", None), "names", None)
    return tuple(names) if names else None


def _json_lines(path: Path) -> Iterator[tuple[int, object]]:
    """Objects of a file by line; an error takes the place of an object that cannot be read."""
    for number, raw in enumerate(open_raw(path), start=1):
        try:
            record: object = parse_record(raw, path, number)
        except CorpusError as error:
            record = error
        if record is not None:
            yield number, record


def _add_records(rows: SplitRows, records: Iterable[tuple[int, object]]) -> None:
    """Take the sentences of numbered objects until too many problems are noted."""
    annotated: list[AnnotatedText] = []
    for number, record in records:
        if isinstance(record, CorpusError):
            rows.problems.append(str(record))
        elif not isinstance(record, dict):
            rows.report(number, "no JSON object. Write a list of objects.")
        else:
            try:
                annotated += _add_record(rows, number, record)
            except CorpusError as error:
                rows.report(number, str(error))
        if rows.are_hopeless:
            return
    add_annotated(rows, annotated)


def _add_record(rows: SplitRows, number: int, record: dict[str, Any]) -> list[AnnotatedText]:
    """Take a sentence; an annotated text is returned, because its file decides how its offsets count."""
    if not any(name in record for name in TAG_COLUMNS) and is_annotated(record):
        text = read_annotated(record, number, rows)
        return [text] if text else []
    words, tags = (choose_column(record, names) for names in (WORD_COLUMNS, TAG_COLUMNS))
    rows.add_record(number, record[words], record[tags])
    return []


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: damaged or no parquet file ({first_line(error)}). Write or fetch the file again.")
