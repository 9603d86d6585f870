"""What clients send and get. A message about a bad request never repeats what the client sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from xtremedistil_ner.serve.limits import Limits, RefusedError

_LARGEST_ID = 2**53 - 1  # what readers that have no integers keep exactly
Id = StrictStr | Annotated[StrictInt, Field(ge=-_LARGEST_ID, le=_LARGEST_ID)]


class TagRequest(BaseModel):
    """Texts to tag, and what to call them in the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[str] = Field(description="texts in Unicode, each tagged by itself", examples=[["Ada was in Paris."]])
    ids: list[Id] | None = Field(None, description="one for each text, given back with its entities")


class TaggedEntity(BaseModel):
    """A name in a text."""

    text: str
    type: str
    start: int = Field(ge=0, description="first code point")
    end: int = Field(ge=1, description="code point after the last one")
    score: float = Field(ge=0, le=1, description="probability, the mean over the words")


class TaggedText(BaseModel):
    """The entities of one text, in order."""

    id: Id | None
    entities: list[TaggedEntity]


class TagResponse(BaseModel):
    """One result for each text, in order."""

    results: list[TaggedText]


class LanguageInfo(BaseModel):
    """A language that the model was scored on."""

    name: str
    f1: float | None


class LimitInfo(BaseModel):
    """What one request may hold."""

    body_bytes: int
    texts: int
    characters: int


class ModelInfo(BaseModel):
    """The model that answers."""

    name: str
    types: list[str]
    synthetic: bool = Field(description="whether its scores are of generated text")
    languages: dict[str, LanguageInfo]
    limits: LimitInfo


class Problem(BaseModel):
    """Why there is no result."""

    detail: str


def read_request(body: bytes, limits: Limits) -> TagRequest:
    """The request that a body is.

    Raises: RefusedError with 422, or with 413 for more texts or characters than `limits` allow.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise RefusedError(422, "The body is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(422, "The body is not JSON.") from error
    try:
        request = TagRequest.model_validate(value)
    except ValidationError as error:
        raise RefusedError(422, _describe(error)) from error
    if request.ids is not None and len(request.ids) != len(request.texts):
        raise RefusedError(422, f"{len(request.texts)} texts but {len(request.ids)} ids. Give one for each, or none.")
    if len(request.texts) > limits.texts:
        raise RefusedError(413, f"{len(request.texts)} texts, more than {limits.texts}. Send several requests.")
    characters = sum(map(len, request.texts))
    if characters > limits.characters:
        raise RefusedError(413, f"{characters} characters, more than {limits.characters}. Send several requests.")
    _demand_unicode([*request.texts, *(name for name in request.ids or () if isinstance(name, str))])
    return request


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _demand_unicode(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RefusedError(422, "A lone surrogate, which is no character. Send the whole pair.") from error


def _describe(error: ValidationError) -> str:
    """The first problem and its place; keys that the client made up are not repeated."""
    problem: dict[str, Any] = dict(error.errors(include_url=False, include_input=False, include_context=False)[0])
    if problem["type"] == "extra_forbidden":
        return "A key that is none of `texts` and `ids`."
    place = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or part in TagRequest.model_fields)
    return f"{place or 'The body'}: {problem['msg']}."
