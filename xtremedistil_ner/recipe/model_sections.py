"""The sections of a recipe that describe models: teacher and student."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from xtremedistil_ner.recipe.data_sections import Section


class PiecesSection(Section):
    """A WordPiece vocabulary for a teacher."""

    vocabulary: str | None = Field(None, description="WordPiece `vocab.txt`; empty: learnt from the transfer set")
    vocabulary_size: int = Field(8000, gt=0, description="pieces of a learnt vocabulary")
    min_piece_count: int = Field(
        1, gt=0, description="pieces of `vocabulary` with fewer occurrences in the transfer set are dropped"
    )
    lowercase: bool = Field(False, description="whether the tokenizer lowercases text")


class OtherVocabularySection(PiecesSection):
    """Other pieces for the checkpoint's layers, whose embeddings are made anew from those of the old pieces."""

    frozen_updates: int = Field(
        1000,
        ge=0,
        description="updates of masked-language-model training with all layers frozen but the embeddings and the head",
    )


class ShapeSection(PiecesSection):
    """A transformer of ModernBERT's architecture, trained from scratch."""

    layers: int = Field(4, gt=0, description="transformer layers")
    hidden_width: int = Field(256, gt=0, description="width of the states; a multiple of twice `heads`")
    heads: int = Field(4, gt=0, description="attention heads per layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability")

    @model_validator(mode="after")
    def _even_heads(self) -> ShapeSection:
        if self.hidden_width % (2 * self.heads):
            raise ValueError(f"hidden_width {self.hidden_width} is no multiple of twice the {self.heads} heads")
        return self


LABELS = "checkpoint's tag or type → corpus's tag or type, if the names differ; null: `O`"


class VoterSection(Section):
    """Further teachers, already fine-tuned. The teachers' log-probabilities are averaged for every word."""

    checkpoint: str = Field(description="folder or Hub id of a token classifier, such as another run's `teacher`")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    labels: dict[str, str | None] = Field({}, description=LABELS)
    weight: float = Field(1.0, gt=0, description="weight in the average")


class TeacherSection(Section):
    """The teacher: a checkpoint (folder or Hub id), or a shape to train from scratch."""

    checkpoint: str | None = Field(None, description="folder or Hub id of an encoder or token classifier")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    vocabulary: OtherVocabularySection | None = Field(
        None, description="another vocabulary for the checkpoint, such as one of more languages"
    )
    shape: ShapeSection | None = Field(None, description="shape of a teacher to train from scratch")
    labels: dict[str, str | None] = Field({}, description=LABELS)
    max_pieces: int = Field(128, ge=8, description="longest window in pieces, special pieces included")
    voters: Annotated[tuple[VoterSection, ...], Field(strict=False)] = ()
    weight: float = Field(1.0, gt=0, description="weight of this teacher in the average with `voters`")

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSection:
        if (self.checkpoint is None) == (self.shape is None):
            raise ValueError("give exactly one of checkpoint and shape")
        if self.vocabulary is not None and self.checkpoint is None:
            raise ValueError("vocabulary belongs to a checkpoint; a shape has its own")
        return self


OwnKind = Literal["bilstm", "cnn"]
OWN_KINDS: tuple[str, ...] = get_args(OwnKind)


class TransformerSection(Section):
    """A student of the stock BERT architecture, which `transformers` loads without this package."""

    layers: int = Field(4, gt=0, description="transformer layers")
    hidden_width: int = Field(256, gt=0, description="width of the states; a multiple of `heads`")
    heads: int = Field(4, gt=0, description="attention heads per layer")
    start: Literal["scratch", "checkpoint", "teacher"] = Field(
        "scratch", description="random weights, a small BERT, or layers of a BERT teacher"
    )
    checkpoint: str | None = Field(None, description="folder or Hub id of a small BERT, which decides the shape")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    teacher_layers: Annotated[tuple[int, ...], Field(strict=False)] = Field(
        (), description="layers to copy, from 1; empty: `layers` of them, evenly spaced"
    )

    @model_validator(mode="after")
    def _one_start(self) -> TransformerSection:
        if (self.start == "checkpoint") != (self.checkpoint is not None):
            raise ValueError("checkpoint belongs to start: checkpoint, and that needs one")
        if self.teacher_layers and self.start != "teacher":
            raise ValueError("teacher_layers belongs to start: teacher")
        if self.hidden_width % self.heads:
            raise ValueError(f"hidden_width {self.hidden_width} is no multiple of the {self.heads} heads")
        return self


class CnnSection(Section):
    """Convolutions with residual sums. Layer i, counted from 0, reads pieces that are 2**i apart."""

    layers: int = Field(3, gt=0, le=8, description="convolutions")
    kernel: int = Field(5, gt=1, description="pieces that a convolution reads; an odd number")

    @model_validator(mode="after")
    def _has_a_middle(self) -> CnnSection:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not odd")
        return self


class StudentSection(Section):
    """The student: a BiLSTM ((50, 200) is the papers' 35x student, (300, 600) their best), a CNN or a transformer."""

    kind: Literal[OwnKind, "transformer"] = Field("bilstm", description="kind of network")
    embedding_width: int = Field(50, gt=0, description="width of the piece embeddings")
    hidden_width: int = Field(200, gt=0, description="width of the states; of a BiLSTM, per direction")
    head: Literal["projected", "direct"] = Field(
        "projected", description="classifier on a projection to the teacher's width, or on the states"
    )
    crf: bool = Field(False, description="learn transition scores between tags from the gold labels")
    cnn: CnnSection = CnnSection()
    transformer: TransformerSection = TransformerSection()
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout probability")
    vocabulary: str | None = Field(
        None,
        description="`vocab.txt`, checkpoint with WordPieces, or `trained`; empty: the teacher's",
    )
    vocabulary_size: int = Field(30_000, gt=0, description="pieces of a `trained` vocabulary")
    min_piece_count: int = Field(1, gt=0, description="pruning drops pieces with fewer occurrences")
    lowercase: bool = Field(False, description="whether the tokenizer lowercases text")
    prune_vocabulary: bool = Field(True, description="keep only pieces that occur in training or transfer text")
    embeddings: Literal["svd", "random"] = Field("svd", description="start from the teacher's embeddings, or random")
    max_pieces: int = Field(
        256, ge=8, description="longest window in pieces; longer sentences are split at word borders"
    )

    @property
    def is_own(self) -> bool:
        """Whether the network is ours, and not one of `transformers`."""
        return self.kind in OWN_KINDS

    @property
    def takes_layers(self) -> bool:
        """Whether it starts from layers of a BERT, and not from random ones."""
        return not self.is_own and self.transformer.start != "scratch"
