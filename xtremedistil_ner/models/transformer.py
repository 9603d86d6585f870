"""The transformer student: transformers' own BERT for token classification, and nothing of ours once it is saved.

Its classifier stands directly on the last layer. The projection into the teacher's space, which the representation
loss needs, lives beside the BERT while it trains and is never saved. Fields of the shape have our words; `CONFIG_KEYS`
gives BERT's names for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn
from transformers import BertConfig, BertForTokenClassification

from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.head import project
from xtremedistil_ner.recipe.model_sections import StudentSection

_INTERMEDIATE = 4
"""Width between the two matrices of a layer over the layer's width. Source: Devlin et al. 2019 (BERT), section 3."""
_GELU = "gelu"
CONFIG_KEYS = {
    "vocabulary_size": "vocab_size",
    "layers": "num_hidden_layers",
    "hidden_width": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate_width": "intermediate_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "epsilon": "layer_norm_eps",
}


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """Sizes of a student. Units: `positions` is the longest row in pieces; `epsilon` is the layer norms'."""

    vocabulary_size: int
    layers: int
    hidden_width: int
    heads: int
    intermediate_width: int
    positions: int
    tags: int
    segments: int = 2
    dropout: float = 0.2
    epsilon: float = 1e-12

    @property
    def head(self) -> Literal["direct"]:
        """The classifier never stands on the projection."""
        return "direct"

    def to_dict(self) -> dict[str, Any]:
        """The shape as JSON values, under the names of BERT's configuration."""
        named = {CONFIG_KEYS.get(name, name): value for name, value in asdict(self).items()}
        return {**named, "attention_probs_dropout_prob": self.dropout, "hidden_act": _GELU}

    def to_config(self) -> BertConfig:
        """BERT's configuration. No piece counts as padding: the mask says what does."""
        named = self.to_dict()
        names = {index: f"LABEL_{index}" for index in range(named.pop("tags"))}
        return BertConfig(id2label=names, pad_token_id=None, **named)


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

        Shapes: input_ids, attention_mask (batch, pieces) int64, padding on the right; result (batch, pieces, hidden).
        """
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


def describe_misfit(shape: TransformerShape, config: Mapping[str, Any]) -> str:
    """What is wrong with a shape and the rest of its `config.json`; empty where nothing is."""
    if config.get("hidden_act") == _GELU and shape.hidden_width % shape.heads == 0:
        return ""
    return (
        f"hidden_act is {config.get('hidden_act')!r}, expected {_GELU!r}; "
        f"{shape.hidden_width} units for {shape.heads} heads"
    )


def scratch_shape(section: StudentSection, *, vocabulary_size: int, tags: int) -> TransformerShape:
    """The shape of a student with random weights; its positions are its longest window."""
    wanted = section.transformer
    return TransformerShape(
        vocabulary_size=vocabulary_size,
        layers=wanted.layers,
        hidden_width=wanted.hidden_width,
        heads=wanted.heads,
        intermediate_width=_INTERMEDIATE * wanted.hidden_width,
        positions=section.max_pieces,
        tags=tags,
        dropout=section.dropout,
    )


def part_of_bert(
    section: StudentSection,
    config: Any,  # noqa: ANN401 - any model's configuration
    *,
    tags: int,
) -> tuple[TransformerShape, tuple[int, ...]]:
    """What a student takes of a BERT, be it the teacher or its own checkpoint: the shape, and which layers, from 1.

    Raises: RecipeError for another architecture or activation, for layers that it lacks, and for too long windows.
    """
    start = section.transformer
    origin = "student.transformer.start: teacher"
    if start.checkpoint is not None:
        origin = f"student.transformer.checkpoint {start.checkpoint}"
    if config.model_type != "bert":
        raise RecipeError(
            f"{origin}: model_type is {config.model_type!r}, and a student takes layers of a 'bert' only. "
            "Take student.transformer.start: scratch, or a small BERT as student.transformer.checkpoint."
        )
    if config.hidden_act != _GELU:
        raise RecipeError(f"{origin}: hidden_act is {config.hidden_act!r}, and a student has {_GELU!r}. Take another.")
    found = {name: getattr(config, key) for name, key in CONFIG_KEYS.items()}
    shape = TransformerShape(**{**found, "dropout": section.dropout}, tags=tags)
    if section.max_pieces > shape.positions:
        raise RecipeError(f"student.max_pieces {section.max_pieces}: {origin} reads at most {shape.positions} pieces.")
    if start.checkpoint is not None:
        return shape, tuple(range(1, shape.layers + 1))
    return shape, choose_layers(start.layers, start.teacher_layers, available=shape.layers)


def choose_layers(count: int, wanted: Iterable[int], *, available: int) -> tuple[int, ...]:
    """Layers of a teacher that a student takes, from 1: those wanted, or `count` evenly spaced ones up to the last.

    Raises: RecipeError for a layer that the teacher does not have.
    """
    chosen = tuple(wanted) or tuple(available * place // count for place in range(1, count + 1))
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
    found = source.state_dict()
    bert = network.model.bert
    weights = {name: found[f"bert.{_source_name(name, layers)}"] for name in bert.state_dict()}
    bert.load_state_dict({**weights, "embeddings.word_embeddings.weight": embeddings})
    return network


def _source_name(name: str, layers: Sequence[int]) -> str:
    """Which weight of the source a student's weight starts from."""
    parts = name.split(".")
    if parts[:2] == ["encoder", "layer"]:
        parts[2] = str(layers[int(parts[2])] - 1)
    return ".".join(parts)
