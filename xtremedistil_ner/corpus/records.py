"""Records of `.jsonl` and `.parquet` files, and labelled splits made of them.

A record has the words of one sentence (`words` or `tokens`) and its tags (`tags` or `ner_tags`) by name; what else it
has is left alone. pyarrow reads parquet files a thousand rows at a time, and is imported by who needs it: 0.1 s.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xtremedistil_ner.corpus.split import ROW, LabelledSplit, SplitRows
from xtremedistil_ner.corpus.streams import decode_line, open_raw
from xtremedistil_ner.errors import CorpusError, first_line

if TYPE_CHECKING:
    import pyarrow

ColumnKind = Literal["texts", "lists of texts", "lists of numbers", "nulls", "others"]
WORD_COLUMNS = ("words", "tokens")
TAG_COLUMNS = ("tags", "ner_tags")
_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20


def read_jsonl(path: Path, *, language: str) -> LabelledSplit:
    """Read a labelled file with one JSON object a line.

    Raises: CorpusError with the first problems of the file, each as `file:line`.
    """
    rows = SplitRows(str(path), path.name)
    for number, raw in enumerate(open_raw(path), start=1):
        try:
            record = parse_record(raw, path, number)
        except CorpusError as error:
            rows.problems.append(str(error))
        else:
            if record is not None:
                _add_record(rows, number, record)
        if rows.are_hopeless:
            break
    return rows.finish(language)


def read_parquet(path: Path, *, language: str) -> LabelledSplit:
    """Read a labelled table. Numbered tags are read where `datasets` wrote their names into the file.

    Raises: CorpusError with the first problems of the file, each with its row.
    """
    schema = parquet_schema(path)
    try:
        words, tags = (choose_column(schema.names, names) for names in (WORD_COLUMNS, TAG_COLUMNS))
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from error
    tag_names = class_names(schema, tags)
    if tag_names is None and column_kind(schema, tags) == "lists of numbers":
        raise CorpusError(
            f"{path}: column {tags} has numbers, and the file does not name them. Write tags such as B-LOC, or read "
            "the folder as corpus.hub.id and name corpus.hub.tag_names."
        )
    rows = SplitRows(str(path), path.name, ROW)
    add_tables(rows, parquet_batches(path, (words, tags)), words=words, tags=tags, tag_names=tag_names)
    return rows.finish(language)


def add_tables(
    rows: SplitRows,
    tables: Iterable[pyarrow.RecordBatch | pyarrow.Table],
    *,
    words: str,
    tags: str,
    tag_names: Sequence[str] | None,
) -> None:
    """Take the sentences of consecutive tables, until too much is wrong."""
    first = 0
    for table in tables:
        pairs = zip(table.column(words).to_pylist(), table.column(tags).to_pylist(), strict=True)
        for number, (some_words, some_tags) in enumerate(pairs, start=first):
            rows.add_record(number, some_words, some_tags, tag_names=tag_names)
            if rows.are_hopeless:
                return
        first += table.num_rows


def choose_column(present: Collection[str], names: Sequence[str]) -> str:
    """The one of some column names that is present.

    Raises: CorpusError where none or several are; the caller knows where.
    """
    found = [name for name in names if name in present]
    if len(found) != 1:
        missing = f"both {' and '.join(found)}" if found else f"neither {' nor '.join(names)}"
        raise CorpusError(f"there is {missing} among {', '.join(present) or 'no columns'}. Give one of them.")
    return found[0]


def parse_record(raw: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """The JSON object of a line; None for a blank line.

    Raises: CorpusError naming `file:line:column` where the line is not UTF-8 or not JSON.
    """
    line = decode_line(raw, path, number)
    if not line.strip():
        return None
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{path}:{number}:{error.colno}: not JSON ({error.msg}). Write one JSON object a line."
        ) from error
    except RecursionError as error:
        raise CorpusError(f"{path}:{number}:1: nested too deeply. Write one JSON object a line.") from error
    if not isinstance(value, dict):
        raise CorpusError(f"{path}:{number}:1: no JSON object. Write one JSON object a line.")
    return value


def parquet_schema(path: Path) -> pyarrow.Schema:
    """Columns of a table.

    Raises: CorpusError for a missing or damaged file.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(path)
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: no such file. Give a parquet file.") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pyarrow.RecordBatch]:
    """Rows of some columns (None: of all) of a table, in order; memory does not grow with the file.

    Raises: CorpusError for a damaged file.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield from file.iter_batches(_BATCH_ROWS, columns=columns and list(columns), use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def column_kind(schema: pyarrow.Schema, column: str) -> ColumnKind:
    """What the values of a column are, as far as texts and tags are concerned; `nulls` where it has none at all."""
    import pyarrow

    kind = schema.field(column).type
    is_list = isinstance(kind, pyarrow.ListType | pyarrow.LargeListType | pyarrow.FixedSizeListType)
    value = kind.value_type if is_list else kind
    if pyarrow.types.is_null(value):
        return "nulls"
    if pyarrow.types.is_string(value) or pyarrow.types.is_large_string(value):
        return "lists of texts" if is_list else "texts"
    return "lists of numbers" if is_list and pyarrow.types.is_integer(value) else "others"


def class_names(schema: pyarrow.Schema, column: str) -> tuple[str, ...] | None:
    """Names of a column's numbers, in order, where `datasets` wrote them into the file; else None."""
    if b"huggingface" not in (schema.metadata or {}):
        return None
    from datasets import Features  # 1 s

    return feature_names(Features.from_arrow_schema(schema).get(column))


def feature_names(feature: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - one of many classes of `datasets`
    """Names of a list of class labels, in order; None for any other feature of `datasets`."""
    names = getattr(getattr(feature, "feature", None), "names", None)
    return tuple(names) if names else None


def _add_record(rows: SplitRows, number: int, record: dict[str, Any]) -> None:
    try:
        words, tags = (choose_column(record, names) for names in (WORD_COLUMNS, TAG_COLUMNS))
    except CorpusError as error:
        rows.report(number, str(error))
    else:
        rows.add_record(number, record[words], record[tags])


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: damaged or no parquet file ({first_line(error)}). Write or fetch the file again.")
