"""The sections of a recipe that describe models: teacher and student."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from xtremedistil_ner.recipe.data_sections import Section


class ShapeSection(Section):
    """A transformer trained from scratch, of ModernBERT's architecture."""

    layers: int = Field(4, gt=0)
    hidden_width: int = Field(256, gt=0)
    heads: int = Field(4, gt=0)
    vocabulary: str | None = Field(None, description="WordPiece `vocab.txt`; empty: one is trained on the transfer set")
    vocabulary_size: int = Field(8000, gt=0, description="pieces of a trained vocabulary")
    min_piece_count: int = Field(
        1, gt=0, description="pieces of `vocabulary` that occur fewer times in the transfer set are dropped"
    )
    lowercase: bool = False
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _even_heads(self) -> ShapeSection:
        if self.hidden_width % (2 * self.heads):
            raise ValueError(f"hidden_width {self.hidden_width} is no multiple of twice the {self.heads} heads")
        return self


LABELS = "tag or type of the checkpoint → tag or type of the corpus, where names differ; null: `O`"


class VoterSection(Section):
    """One more teacher, fine-tuned already: the teachers' log-probabilities are averaged word by word."""

    checkpoint: str = Field(description="folder or Hub id of a token classifier, such as another run's `teacher`")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    labels: dict[str, str | None] = Field({}, description=LABELS)
    weight: float = Field(1.0, gt=0)


class TeacherSection(Section):
    """The teacher: a checkpoint (folder or Hub id), or a shape that is trained from scratch."""

    checkpoint: str | None = Field(None, description="folder or Hub id of an encoder or of a token classifier")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    shape: ShapeSection | None = Field(None, description="train from scratch with this shape")
    labels: dict[str, str | None] = Field({}, description=LABELS)
    max_pieces: int = Field(128, ge=8, description="longest window, special pieces included")
    voters: Annotated[tuple[VoterSection, ...], Field(strict=False)] = ()
    weight: float = Field(1.0, gt=0, description="of this teacher among `voters`")

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSection:
        if (self.checkpoint is None) == (self.shape is None):
            raise ValueError("give exactly one of checkpoint and shape")
        return self


OwnKind = Literal["bilstm", "cnn"]
OWN_KINDS: tuple[str, ...] = get_args(OwnKind)


class TransformerSection(Section):
    """A student of the stock BERT architecture, saved so that `transformers` loads it with nothing of ours."""

    layers: int = Field(4, gt=0)
    hidden_width: int = Field(256, gt=0)
    heads: int = Field(4, gt=0)
    start: Literal["scratch", "checkpoint", "teacher"] = Field(
        "scratch", description="random weights, a small BERT `checkpoint`, or layers of a teacher that is a BERT"
    )
    checkpoint: str | None = Field(None, description="folder or Hub id of a small BERT; it decides the shape")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    teacher_layers: Annotated[tuple[int, ...], Field(strict=False)] = Field(
        (), description="layers to take, from 1; empty: `layers` of them, evenly spaced up to the last"
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
    """Convolutions with residual sums; the pieces that layer i, from 0, looks at are 2**i apart."""

    layers: int = Field(3, gt=0, le=8)
    kernel: int = Field(5, gt=1, description="pieces of a convolution, an odd number")

    @model_validator(mode="after")
    def _has_a_middle(self) -> CnnSection:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not odd")
        return self


class StudentSection(Section):
    """The student: a BiLSTM ((50, 200) is the papers' 35x student, (300, 600) their best), a CNN or a transformer."""

    kind: Literal[OwnKind, "transformer"] = "bilstm"
    embedding_width: int = Field(50, gt=0)
    hidden_width: int = Field(200, gt=0, description="of a BiLSTM per direction")
    head: Literal["projected", "direct"] = Field(
        "projected", description="a projection to the teacher's width, or none"
    )
    crf: bool = Field(False, description="transition scores between tags, learnt with the gold labels")
    cnn: CnnSection = CnnSection()
    transformer: TransformerSection = TransformerSection()
    dropout: float = Field(0.2, ge=0, lt=1)
    vocabulary: str | None = Field(
        None,
        description="WordPiece `vocab.txt`, or folder or Hub id of a checkpoint with one; `trained`: learnt from the "
        "training and transfer text; empty: the teacher's",
    )
    vocabulary_size: int = Field(30_000, gt=0, description="pieces of a trained vocabulary")
    min_piece_count: int = Field(1, gt=0, description="pieces that occur fewer times are dropped when pruning")
    lowercase: bool = False
    prune_vocabulary: bool = Field(True, description="keep only the pieces that occur in training and transfer text")
    embeddings: Literal["svd", "random"] = "svd"
    max_pieces: int = Field(256, ge=8, description="longest window; longer sentences are cut at word borders")

    @property
    def is_own(self) -> bool:
        """Whether the network is ours, and not one of `transformers`."""
        return self.kind in OWN_KINDS

    @property
    def takes_layers(self) -> bool:
        """Whether it starts from layers of a BERT, and not from random ones."""
        return not self.is_own and self.transformer.start != "scratch"
