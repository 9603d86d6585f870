"""Checks that JSON files of ours have the form that their readers rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from xtremedistil_ner.errors import ArtefactError

Form = TypeVar("Form")


def require_form(path: Path, value: Any, form: type[Form], *, remedy: str) -> Form:  # noqa: ANN401 - any JSON value
    """A JSON value as `form`, a dataclass or a pydantic model; other keys are allowed.

    Raises: ArtefactError that names the file and the first key that does not fit.
    """
    try:
        return TypeAdapter(form).validate_python(value)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        key = ".".join(map(str, first["loc"]))[:200]
        more = f" (and {len(others)} more)" if others else ""
        raise ArtefactError(f"{path}: {key}: {first['msg']}{more}. {remedy}") from error
