"""The schema of a recipe: how a run computes, and the sections of data and models put together.

Every field has its type, its bounds and its default. Defaults live in this room and nowhere else; `docs/recipes.md` is
generated from these classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xtremedistil_ner.recipe.data_sections import CorpusSection, Section, TransferSection
from xtremedistil_ner.recipe.model_sections import OWN_KINDS, StudentSection, TeacherSection

Precision = Annotated[
    Literal["auto", "float32", "bf16"],
    Field(description="`auto`: bf16 where the device has it natively, float32 elsewhere; `bf16` elsewhere is refused"),
]
ExportFormat = Literal["hf", "onnx", "onnx-int8", "triton", "web"]
Strategy = Literal["D0", "D0-S", "hard", "D1", "D2", "D3.1", "D3.2", "D4.1", "D4.2", "D4.2-control"]


class MaskedLanguageModelSection(Section):
    """Masked-language-model training on the transfer set, before fine-tuning."""

    updates: int = Field(0, ge=0, description="optimiser updates; 0: none")
    learning_rate: float = Field(1e-4, gt=0)
    batch_sentences: int = Field(64, gt=0)
    mask_probability: float = Field(0.15, gt=0, lt=1)


class FinetuneSection(Section):
    """Fine-tuning of the teacher on all languages jointly. `epochs: 0`: the checkpoint is the teacher as it is."""

    epochs: int = Field(3, ge=0)
    learning_rate: float = Field(5e-5, gt=0)
    batch_sentences: int = Field(32, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates")
    weight_decay: float = Field(0.01, ge=0)
    sampling_temperature: float = Field(1.0, ge=1.0, description="1: by corpus size; larger: towards uniform")
    evaluations_per_epoch: int = Field(1, gt=0)
    precision: Precision = "auto"
    masked_language_model: MaskedLanguageModelSection = MaskedLanguageModelSection()


class PseudolabelSection(Section):
    """Soft labels of the transfer set."""

    batch_pieces: int = Field(4096, gt=0, description="piece budget of a batch; on CPU at most 512 are used")
    shard_sentences: int = Field(8192, gt=0)
    precision: Precision = "auto"
    runtime: Literal["torch", "onnx-int8"] = Field(
        "torch",
        description="`onnx-int8`: int8 matrices on CPU, for teachers that are a BERT, RoBERTa or XLM-R; refused where "
        "their labels leave those of float32",
    )


class LossWeights(Section):
    """Weights of losses that are added up in one stage."""

    labels: float = Field(1.0, gt=0)
    logits: float = Field(1.0, gt=0)
    representation: float = Field(1.0, gt=0)


class TrainSection(Section):
    """Distillation: the strategy and its budget."""

    strategy: Strategy = "D4.2"
    logit_loss: Literal["mse", "soft_cross_entropy", "posterior"] = Field(
        "mse", description="squared error, softened cross-entropy, or cross-entropy of posteriors under a linear chain"
    )
    temperature: float = Field(1.0, gt=0, description="of soft_cross_entropy and posterior")
    representation_loss: Literal["mse", "cosine", "kld"] = "mse"
    loss_weights: LossWeights = LossWeights()
    updates: int = Field(10_000, gt=0, description="optimiser updates of all stages together, at most")
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-8, ge=0, description="end of the cosine schedule")
    batch_sentences: int = Field(512, gt=0, description="sentences of an optimiser step, over all processes")
    micro_batch_pieces: int = Field(65_536, gt=0, description="piece budget of one forward pass of one process")
    evaluate_every: int = Field(250, gt=0, description="updates between looks at dev")
    dev_sentences: int = Field(2000, gt=0, description="dev sentences per language that select; the report takes all")
    patience: int = Field(6, gt=0, description="looks at dev without improvement that end a phase")
    teacher_layer: int | None = Field(None, ge=0, description="layer of the representation loss; empty: the middle")
    checkpoint_every_s: float = Field(120.0, ge=0, description="seconds between checkpoints; 0: after every update")
    precision: Precision = "auto"
    weight_decay: float = Field(0.0, ge=0)


class EvaluateSection(Section):
    """Scores of the report."""

    splits: Annotated[tuple[Literal["train", "dev", "test"], ...], Field(strict=False)] = ("dev", "test")
    bootstrap: int = Field(1000, ge=0, description="resamples of the 95 % intervals")
    protocol: Literal["strict", "paper"] = Field(
        "strict", description="paper: the papers' scores beside the strict ones (32 pieces, conlleval's rules)"
    )
    baselines: bool = Field(False, description="score a look-up of training names and a carrier-only tagger too")

    @model_validator(mode="after")
    def _some_split(self) -> EvaluateSection:
        if not self.splits:
            raise ValueError("name at least one split to score")
        return self


class ExportSection(Section):
    """The folder that a tagging service loads."""

    formats: Annotated[tuple[ExportFormat, ...], Field(strict=False)] = Field(
        ("hf", "onnx", "onnx-int8"),
        description="`hf`: weights for transformers; `onnx`: graph in float32; `onnx-int8`: graph in int8, published "
        "if macro-F1 on dev drops by at most 0.3 points; `triton`: a model repository; `web`: a page",
    )
    onnxruntime_web: str | None = Field(None, description="folder of npm's onnxruntime-web, for the format `web`")
    force_int8: bool = Field(False, description="publish the int8 graph whatever it costs")
    licence: str = Field("other", description="licence named in the model card")

    @model_validator(mode="after")
    def _some_format(self) -> ExportSection:
        if not self.formats or len(set(self.formats)) != len(self.formats):
            raise ValueError("name at least one format, each once")
        if self.force_int8 and "onnx-int8" not in self.formats:
            raise ValueError("force_int8 is about the format onnx-int8, which is not asked for")
        if ("web" in self.formats) != (self.onnxruntime_web is not None):
            raise ValueError("the format web and onnxruntime_web need each other")
        return self


class Recipe(Section):
    """One run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    seed: int = Field(13, ge=0, lt=2**32)
    corpus: CorpusSection = CorpusSection()
    transfer: TransferSection = TransferSection()
    teacher: TeacherSection
    finetune: FinetuneSection = FinetuneSection()
    pseudolabel: PseudolabelSection = PseudolabelSection()
    student: StudentSection = StudentSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    export: ExportSection = ExportSection()

    @model_validator(mode="after")
    def _scratch_teacher_is_trained(self) -> Recipe:
        if self.teacher.shape is not None and self.finetune.epochs == 0:
            raise ValueError("a teacher from scratch needs finetune.epochs above 0")
        return self

    @model_validator(mode="after")
    def _teacher_has_a_graph(self) -> Recipe:
        if self.teacher.shape is not None and self.pseudolabel.runtime != "torch":
            raise ValueError("pseudolabel.runtime: onnx-int8 needs a teacher.checkpoint that is a BERT or RoBERTa")
        return self

    @model_validator(mode="after")
    def _student_fits(self) -> Recipe:
        if self.student.crf and not self.student.is_own:
            raise ValueError(f"student.crf is an option of the {' and '.join(OWN_KINDS)} students")
        if self.student.crf and self.train.strategy == "hard":
            raise ValueError("student.crf learns from gold labels, and strategy hard has none")
        return self
