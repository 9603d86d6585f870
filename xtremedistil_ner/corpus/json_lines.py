"""JSON that others wrote, one object a line or one value a file, with one complaint wherever it is read.

Strict: Python's own reader takes `NaN` and two keys of one name, which no other reader of JSON has to. What it takes
and cannot write again, infinite numbers and deep nesting, is refused as well, because `xner tag` writes out the keys
that it does not use. 5 µs an object of 200 bytes, of which Python's own reader takes 2.
"""

from __future__ import annotations

import json
from math import isinf
from pathlib import Path
from typing import Any, NoReturn

from xtremedistil_ner.corpus.streams import decode_line
from xtremedistil_ner.errors import CorpusError, quoted

_MOST_NESTED = 100


def parse_record(raw: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """The JSON object of a line; None for a blank line.

    Raises: CorpusError naming `file:line`, with the column where it is known.
    """
    line = decode_line(raw, path, number)
    if not line.strip():
        return None
    try:
        value = parse_json(line)
    except json.JSONDecodeError as error:
        place = f"{path}:{number}:{error.colno}"
        raise CorpusError(f"{place}: not JSON ({error.msg}). Write one JSON object a line.") from error
    except CorpusError as error:
        raise CorpusError(f"{path}:{number}: {error}") from error
    if not isinstance(value, dict):
        raise CorpusError(f"{path}:{number}:1: no JSON object. Write one JSON object a line.")
    return value


def parse_json(text: str) -> Any:  # noqa: ANN401 - whatever stands there
    """The value of a JSON text.

    Raises: JSONDecodeError with its place; CorpusError for what is JSON to Python alone. The caller knows where.
    """
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise _nested() from error
    except ValueError as error:  # a number of more digits than Python reads
        raise CorpusError("a number has thousands of digits. Write it as text.") from error
    if text.count("[") + text.count("{") > _MOST_NESTED:
        _check_depth(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise CorpusError(f"the key {quoted(twice)} stands there twice. Keep one of the two.")
    return found


def _finite(digits: str) -> float:
    value = float(digits)
    if isinf(value):
        raise CorpusError(f"the number {quoted(digits)} is too large. Write it as text.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise CorpusError(f"{name} is no number in JSON. Write null.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_MOST_NESTED):
        inner = (
            entry.values() if isinstance(entry, dict) else entry for entry in level if isinstance(entry, dict | list)
        )
        level = [entry for entries in inner for entry in entries]
        if not level:
            return
    raise _nested()


def _nested() -> CorpusError:
    return CorpusError(f"nested too deeply. At most {_MOST_NESTED} objects and lists may lie in one another.")
