"""The transformer student: transformers' own BERT for token classification, and nothing of ours once it is saved.

Its classifier reads the last layer directly. The projection into the teacher's space, which the representation
loss needs, lives beside the BERT while it trains and is never saved. Fields of the shape have our names, and BERT's
names as aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from transformers import BertConfig, BertForTokenClassification, PreTrainedConfig

from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.head import project
from xtremedistil_ner.models.shape import Share, Size, read_shape, shape_values

_GELU: Literal["gelu"] = "gelu"


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """Sizes of a student. Units: `positions` is the longest row in pieces; `epsilon` is the layer norms'."""

    vocabulary_size: Annotated[Size, Field(alias="vocab_size")]
    layers: Annotated[Size, Field(alias="num_hidden_layers")]
    hidden_width: Annotated[Size, Field(alias="hidden_size")]
    heads: Annotated[Size, Field(alias="num_attention_heads")]
    intermediate_width: Annotated[Size, Field(alias="intermediate_size")]
    positions: Annotated[Size, Field(alias="max_position_embeddings")]
    tags: Size
    dropout: Annotated[Share, Field(alias="hidden_dropout_prob")]
    attention_dropout: Annotated[Share, Field(alias="attention_probs_dropout_prob")]
    segments: Annotated[Size, Field(alias="type_vocab_size")] = 2
    epsilon: Annotated[Share, Field(alias="layer_norm_eps")] = 1e-12
    activation: Annotated[Literal["gelu"], Field(alias="hidden_act")] = _GELU

    def __post_init__(self) -> None:
        if self.hidden_width % self.heads:
            raise ValueError(f"{self.hidden_width} units for {self.heads} heads")

    @property
    def head(self) -> Literal["direct"]:
        """The classifier never reads the projection."""
        return "direct"

    def to_config(self) -> BertConfig:
        """BERT's configuration. No piece counts as padding: the mask says what does."""
        values = shape_values(self)
        names = {index: f"LABEL_{index}" for index in range(values.pop("tags"))}
        return BertConfig(id2label=names, pad_token_id=None, **values)


class TransformerStudent(nn.Module):
    """A student network; `representation_width` makes the projection that the representation loss needs.

    It has no CRF: a stock BERT has nowhere to keep one.
    """

    crf: None = None

    def __init__(self, shape: TransformerShape, *, representation_width: int | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.model = BertForTokenClassification(shape.to_config())
        # drawn last, so that a student starts from the same weights with and without it
        self.projection: nn.Linear | None = None
        if representation_width is not None:
            self.projection = nn.Linear(shape.hidden_width, representation_width)

    @property
    def embeddings(self) -> nn.Embedding:
        """The piece embeddings."""
        weights: nn.Embedding = self.model.bert.embeddings.word_embeddings
        return weights

    def layers(self) -> dict[str, tuple[str, ...]]:
        """Prefixes of the parameters of each layer, from top to bottom."""
        numbers = range(self.shape.layers, 0, -1)
        return {
            "classifier": ("model.classifier.",),
            **({} if self.projection is None else {"projection": ("projection.",)}),
            **{f"layer {number}": (f"model.bert.encoder.layer.{number - 1}.",) for number in numbers},
            "embeddings": ("model.bert.embeddings.",),
        }

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States of every piece after the last layer; those of padding mean nothing.

        From a mask of two dimensions BERT makes the one of four that it needs, unless there is no padding. A GPU would
        have to be waited for to know that, so it gets four.

        Shapes: input_ids, attention_mask (batch, pieces) int64, padding on the right; result (batch, pieces, hidden).
        """
        if attention_mask.device.type == "cuda":
            attention_mask = attention_mask.bool()[:, None, None, :].expand(-1, -1, input_ids.shape[1], -1)
        states: Tensor = self.model.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states

    def represent(self, hidden: Tensor) -> Tensor:
        """Student states in the teacher's space, as `project` has them.

        Shapes: hidden (..., hidden); result (..., representation_width).
        """
        return project(hidden, self.projection, self.model.dropout)

    def classify(self, hidden: Tensor) -> Tensor:
        """Logits of states. Shapes: hidden (..., hidden); result (..., tags)."""
        logits: Tensor = self.model.classifier(self.model.dropout(hidden))
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of every piece. Shapes: inputs (batch, pieces) int64; result (batch, pieces, tags)."""
        return self.classify(self.hidden(input_ids, attention_mask))


def shape_of_bert(
    config: PreTrainedConfig, *, origin: str, tags: int, max_pieces: int, dropout: float
) -> TransformerShape:
    """The shape of a BERT that a student starts from, with the student's tags and dropout.

    Raises: RecipeError, which names `origin`, for another architecture or activation and for too long windows;
    ModelError for sizes that a student cannot have.
    """
    if config.model_type != "bert":
        raise RecipeError(
            f"{origin}: model_type is {config.model_type!r}, and a student takes layers of a 'bert' only. "
            "Take student.transformer.start: scratch, or a small BERT as student.transformer.checkpoint."
        )
    if config.hidden_act != _GELU:
        raise RecipeError(f"{origin}: hidden_act is {config.hidden_act!r}, and a student has {_GELU!r}. Take another.")
    students = {"tags": tags, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    shape = read_shape(TransformerShape, {**config.to_dict(), **students}, origin)
    if max_pieces > shape.positions:
        raise RecipeError(f"student.max_pieces {max_pieces}: {origin} reads at most {shape.positions} pieces.")
    return shape


def choose_layers(count: int, numbers: Iterable[int], *, available: int) -> tuple[int, ...]:
    """Layers of a teacher that a student takes, from 1: the given ones, or `count` evenly spaced ones up to the last.

    Raises: RecipeError for a layer that the teacher does not have.
    """
    chosen = tuple(numbers) or tuple(available * number // count for number in range(1, count + 1))
    if bad := [layer for layer in chosen if not 1 <= layer <= available]:
        raise RecipeError(
            f"student.transformer: layer {bad[0]} of a teacher that has layers 1 to {available}. "
            "Set layers or teacher_layers to what it has."
        )
    return chosen


def student_of_bert(
    source: nn.Module,
    shape: TransformerShape,
    *,
    layers: Sequence[int],
    embeddings: Tensor,
    representation_width: int | None,
) -> TransformerStudent:
    """A student that starts from some layers of a BERT, and from `embeddings` for its own pieces.

    Its classifier is new. `shape` is the source's.

    Shapes: embeddings (student's vocabulary, hidden_width).
    """
    shape = replace(shape, vocabulary_size=len(embeddings), layers=len(layers))
    network = TransformerStudent(shape, representation_width=representation_width)
    source_weights = source.state_dict()
    bert = network.model.bert
    weights = {name: source_weights[f"bert.{_source_name(name, layers)}"] for name in bert.state_dict()}
    bert.load_state_dict({**weights, "embeddings.word_embeddings.weight": embeddings})
    return network


def _source_name(name: str, layers: Sequence[int]) -> str:
    """Which weight of the source a student's weight starts from."""
    parts = name.split(".")
    if parts[:2] == ["encoder", "layer"]:
        parts[2] = str(layers[int(parts[2])] - 1)
    return ".".join(parts)
