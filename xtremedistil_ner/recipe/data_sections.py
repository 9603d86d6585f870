"""The sections of a recipe that name data: corpora and transfer text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from xtremedistil_ner.errors import quoted
from xtremedistil_ner.names import LANGUAGE_RULE, TYPE_RULE, is_language, is_type


def _admit_language(code: str) -> str:
    if not is_language(code):
        raise ValueError(LANGUAGE_RULE)
    return code


Languages = Annotated[tuple[Annotated[str, AfterValidator(_admit_language)], ...], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


def _require_types(types: tuple[str, ...]) -> tuple[str, ...]:
    for name in types:
        if not is_type(name):
            raise ValueError(f"{quoted(name)} is no type. {TYPE_RULE}")
    return types


def _require_mapping(types: dict[str, str | None]) -> dict[str, str | None]:
    _require_types((*types, *filter(None, types.values())))
    for old, new in types.items():
        if new == "O":
            raise ValueError(f"{old!r}: {new!r} maps no type to a type. Write null to leave a type out")
    return types


Types = Annotated[
    Annotated[Names, AfterValidator(_require_types), Tag("union-list")]
    | Annotated[dict[str, str | None], AfterValidator(_require_mapping), Tag("union-mapping")],
    Discriminator(lambda value: "union-mapping" if isinstance(value, dict) else "union-list"),
]


class Section(BaseModel):
    """A mapping of a recipe: no other keys, no text for a number, no empty text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_min_length=1)


class HubCorpusSection(Section):
    """A labelled corpus of the Hugging Face Hub."""

    id: str = Field(description="dataset, such as `unimelb-nlp/wikiann`")
    revision: str = Field("main", description="branch, tag or commit; the report names the commit")
    config: str = Field("{language}", description="name of a language's configuration; `{language}` is its code")
    languages: Languages = Field(
        (), description="languages that `all` means, if present; empty: all that `config` matches"
    )
    words: str = Field("tokens", description="column of the words")
    tags: str = Field("ner_tags", description="column of the tags: names, or numbers of a ClassLabel")
    tag_names: Names = Field((), description="names of numbered tags, in order, if the dataset does not have them")
    train: str = Field("train", description="name of the training split")
    dev: str = Field("validation", description="name of the split for selection")
    test: str = Field("test", description="name of the test split")


class ColumnsSection(Section):
    """Columns of words and tags in column files, counted from 1."""

    word: int | None = Field(
        None, ge=1, description="column of the words; empty: 1, or 2 if column 1 numbers the words"
    )
    tag: int | None = Field(
        None,
        ge=1,
        description="column of the tags; empty: the last one with tags; after numbers, the one after the word",
    )

    @model_validator(mode="after")
    def _two_columns(self) -> ColumnsSection:
        if self.word is not None and self.word == self.tag:
            raise ValueError(f"column {self.word} cannot have both the words and the tags")
        return self


class CorpusSection(Section):
    """The labelled corpus: `demo` (built in, synthetic), a folder `<lang>/{train,dev,test}.tsv`, or one of the Hub."""

    path: str | None = Field("demo", description="folder or URL with one folder per language, or `demo`")
    hub: HubCorpusSection | None = Field(None, description="a corpus of the Hub, in place of `path`")
    languages: Languages = Field((), description="language codes; empty: every language of the corpus")
    columns: ColumnsSection = ColumnsSection()
    types: Types = Field(
        (),
        description="list: allowed; mapping: new names, null: left out; empty: those of the tags",
    )
    train_sentences: int | None = Field(None, gt=0, description="most training sentences per language")
    split_words: bool = Field(True, description="split words of training sentences as the tagger splits text")

    @model_validator(mode="before")
    @classmethod
    def _demo_is_no_second_place(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the recipe has here
        return {"path": None, **data} if isinstance(data, dict) and "hub" in data else data

    @model_validator(mode="after")
    def _one_place(self) -> CorpusSection:
        if self.path is not None and self.hub is not None:
            raise ValueError(
                "give path or hub, not both: take one away with --set corpus.hub=null or --set corpus.path=null"
            )
        if self.hub is not None and self.columns != ColumnsSection():
            raise ValueError("columns belong to a folder's files: name corpus.hub.words and corpus.hub.tags instead")
        if self.path is None and self.hub is None:
            raise ValueError("give path or hub; the built-in corpus is path: demo")
        return self

    @property
    def type_mapping(self) -> Mapping[str, str | None]:
        """`types`, where it is a mapping."""
        return self.types if isinstance(self.types, dict) else {}


class HubTextSection(Section):
    """A text column of a dataset of the Hugging Face Hub."""

    id: str = Field(description="dataset")
    revision: str = Field("main", description="branch, tag or commit; the report names the commit")
    config: str = Field("{language}", description="name of a language's configuration; `{language}` is its code")
    split: str = Field("train", description="split to read")
    text: str = Field("text", description="column of sentences, or of lists of words")


class TransferSection(Section):
    """The unlabelled text that the teacher labels."""

    training_text: bool = Field(True, description="include the labelled training sentences, without their tags")
    path: str | None = Field(
        None,
        description="folder or URL with `<lang>.txt`, `.jsonl` or `.parquet`; or one such file; or `demo`",
    )
    text: str = Field("text", description="column of `.jsonl` and `.parquet` files with sentences, or lists of words")
    hub: HubTextSection | None = Field(None, description="a dataset of the Hub")
    languages: Languages = Field((), description="language codes; empty: corpus.languages, or all of corpus and text")
    sentences: int | None = Field(
        None, gt=0, description="most sentences per language, in addition to the training text"
    )

    @model_validator(mode="after")
    def _some_text(self) -> TransferSection:
        if not self.training_text and self.path is None and self.hub is None:
            raise ValueError("give a path or hub, or training_text: true")
        return self
