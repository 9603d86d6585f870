"""Sizes of a student's network: which values they may have, and their names in `config.json`.

A shape is a frozen dataclass whose annotations say both; pydantic compares a `config.json` with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from xtremedistil_ner.errors import ModelError, quoted

Shape = TypeVar("Shape")
Size = Annotated[int, Field(gt=0, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]


def read_shape(form: type[Shape], values: Mapping[str, Any], origin: str | Path) -> Shape:
    """The shape that some values describe; other keys are ignored.

    Raises: ModelError naming every size that is missing or wrong, or the sizes that do not go together.
    """
    try:
        return TypeAdapter(form).validate_python(dict(values))
    except ValidationError as error:
        problems = "; ".join(map(_describe, error.errors(include_url=False)))
        raise ModelError(f"{origin}: no shape of a student: {problems}.") from error


def _describe(problem: ErrorDetails) -> str:
    if not problem["loc"]:  # sizes that do not go together
        return problem["msg"].removeprefix("Value error, ")
    value = "missing" if problem["type"] == "missing" else quoted(problem["input"])
    return f"{'.'.join(map(str, problem['loc']))} is {value} ({problem['msg']})"


def shape_values(shape: Any) -> dict[str, Any]:  # noqa: ANN401 - a shape of any kind
    """A shape as JSON values, under its names in `config.json`."""
    values: dict[str, Any] = TypeAdapter(type(shape)).dump_python(shape, by_alias=True)
    return values
