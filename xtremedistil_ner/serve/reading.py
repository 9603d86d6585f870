"""A request read from its body, only as far as the first problem.

A body may be any megabyte. When it was parsed as a whole and then checked, half a million numbers delayed every other
request by 1.8 s. So this module walks through the lists of a request, and Python's JSON decoder reads each value.
A message about a bad request never repeats what the client sent.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from xtremedistil_ner.serve.limits import Limits, RefusedError
from xtremedistil_ner.serve.messages import LARGEST_ID, Id, TagRequest

_NO_SPACE = re.compile(r"[^ \t\n\r]")
_NUMBER_STARTS = tuple("-0123456789")


def read_request(body: bytes, limits: Limits) -> TagRequest:
    """The request in a body.

    Raises: RefusedError with 422, or with 413 for more texts or characters than `limits` allow.
    """
    try:
        values = _read_values(_Scanner(body.decode("utf-8-sig")), limits)
    except UnicodeDecodeError as error:
        raise RefusedError(422, "The body is not UTF-8.") from error
    except ValueError as error:
        raise RefusedError(422, "The body is not JSON.") from error
    if "texts" not in values:
        raise RefusedError(422, "texts: a list of strings is missing.")
    texts, ids = values["texts"], values.get("ids")
    if ids is not None and len(ids) != len(texts):
        raise RefusedError(422, f"{len(texts)} texts but {len(ids)} ids. Give one for each, or none.")
    characters = sum(map(len, texts))
    if characters > limits.characters:
        raise RefusedError(413, f"{characters} characters, more than {limits.characters}. Send several requests.")
    return TagRequest.model_construct(**values)


class _Scanner:
    """JSON text and the position up to which it was read. Its methods raise ValueError for text that is not JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        match = _NO_SPACE.search(self._text, self._position)
        self._position = match.start() if match else len(self._text)
        return self._text[self._position : self._position + 1]

    def take(self, character: str) -> bool:
        """Read a character if it is the next one, and return whether it is."""
        is_next = self.peek() == character
        self._position += is_next
        return is_next

    def demand(self, character: str) -> None:
        """Read a character that must be the next one."""
        if not self.take(character):
            raise ValueError(character)

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """Read a value."""
        value, self._position = self._decode(self._text, self._position)
        return value


def _read_values(scanner: _Scanner, limits: Limits) -> dict[str, Any]:
    if not scanner.take("{"):
        raise RefusedError(422, "The body is not a JSON object.")
    values: dict[str, Any] = {}
    is_over = scanner.take("}")
    while not is_over:
        name = scanner.value() if scanner.peek() == '"' else ""
        if name not in TagRequest.model_fields:
            raise RefusedError(422, "A key that is none of `texts`, `ids`, `min_score` and `types`.")
        if name in values:
            raise RefusedError(422, f"{name}: given twice.")
        scanner.demand(":")
        is_list = name != "min_score"
        values[name] = _read_list(scanner, name, limits.texts) if is_list else _read_score(scanner)
        is_over = not scanner.take(",")
        if is_over:
            scanner.demand("}")
    if scanner.peek():
        raise ValueError("more text after the end")
    return values


def _read_list(scanner: _Scanner, name: str, most: int) -> list[Any] | None:
    if name != "texts" and scanner.peek() == "n":
        scanner.value()  # null
        return None
    if not scanner.take("["):
        raise RefusedError(422, f"{name}: not a list.")
    values: list[Any] = []
    is_over = scanner.take("]")
    while not is_over:
        if len(values) == most:
            raise RefusedError(413, f"More than {most} {name}. Send several requests.")
        read = _read_id if name == "ids" else _read_string
        values.append(read(scanner, len(values), name))
        is_over = not scanner.take(",")
        if is_over:
            scanner.demand("]")
    return values


def _read_string(scanner: _Scanner, index: int, name: str) -> str:
    if scanner.peek() != '"':
        raise RefusedError(422, f"{name}.{index}: not a string.")
    text: str = scanner.value()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RefusedError(422, "A lone surrogate, which is no character. Send the whole pair.") from error
    return text


def _read_id(scanner: _Scanner, index: int, name: str) -> Id:
    if scanner.peek() == '"':
        return _read_string(scanner, index, name)
    value = scanner.value() if scanner.peek() in _NUMBER_STARTS else None
    if not isinstance(value, int) or abs(value) > LARGEST_ID:
        raise RefusedError(422, f"{name}.{index}: neither a string nor an integer between -2**53 and 2**53.")
    return value


def _read_score(scanner: _Scanner) -> float:
    value = scanner.value() if scanner.peek() in _NUMBER_STARTS else None
    if value is None or not 0 <= value <= 1:
        raise RefusedError(422, "min_score: no number from 0 to 1.")
    return float(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
