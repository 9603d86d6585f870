"""JSON files of ours, compared with the form that their readers rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from xtremedistil_ner.errors import ArtefactError

Form = TypeVar("Form")


def require_form(path: Path, value: Any, form: type[Form], *, remedy: str) -> Form:  # noqa: ANN401 - any JSON value
    """A JSON value as `form`, a dataclass or a pydantic model; keys that the form does not have may stand there.

    Raises: ArtefactError naming the file and the first key that does not fit.
    """
    try:
        return TypeAdapter(form).validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        key = ".".join(map(str, found[0]["loc"]))[:200]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ArtefactError(f"{path}: {key}: {found[0]['msg']}{more}. {remedy}") from error
