"""Requests and answers of the service; its OpenAPI contract is made from these classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

LARGEST_ID = 2**53 - 1  # the largest integer that is exact in JavaScript
Id = StrictStr | Annotated[StrictInt, Field(ge=-LARGEST_ID, le=LARGEST_ID)]


class TagRequest(BaseModel):
    """Texts to tag, and their ids in the answer."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(description="texts in Unicode, each tagged by itself", examples=[["Ada was in Paris."]])
    ids: list[Id] | None = Field(None, description="one for each text, given back with its entities")
    min_score: float = Field(0.0, ge=0, le=1, description="entities with a lower score are left out")
    types: list[str] | None = Field(None, min_length=1, description="entities of other types are left out")


class TaggedEntity(BaseModel):
    """A name in a text."""

    text: str
    type: str
    start: int = Field(ge=0, description="first code point")
    end: int = Field(ge=1, description="code point after the last one")
    score: float = Field(ge=0, le=1, description="probability of the type, the mean over the words")


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
    """Limits of one request."""

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
