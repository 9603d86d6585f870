"""The schema of a recipe: the sections on stages, and the whole recipe.

Every field has its type, its bounds and its default. Defaults are in this room and nowhere else; `docs/recipes.md` is
generated from these classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xtremedistil_ner.recipe.data_sections import CorpusSection, Section, TransferSection
from xtremedistil_ner.recipe.model_sections import OWN_KINDS, StudentSection, TeacherSection

Precision = Annotated[
    Literal["auto", "float32", "bf16"],
    Field(description="`auto`: native bf16, else float32; emulated bf16 is refused"),
]
SAMPLING_TEMPERATURE = Field(1.0, ge=1.0, description="1: languages by corpus size; larger: more equal shares")
ExportFormat = Literal["hf", "onnx", "onnx-int8", "triton", "web"]
SCALE_BATCH = Field(
    True,
    description="`batch_sentences` counts for each process, with fewer updates at a higher rate, or over all of them; "
    "see scaling.md",
)
Strategy = Literal["D0", "D0-S", "hard", "D1", "D2", "D3.1", "D3.2", "D4.1", "D4.2", "D4.2-control"]


class MaskedLanguageModelSection(Section):
    """Masked-language-model training on the transfer set, before fine-tuning."""

    updates: int = Field(0, ge=0, description="optimiser updates; 0 switches this training off")
    learning_rate: float = Field(1e-4, gt=0, description="highest learning rate")
    batch_sentences: int = Field(64, gt=0, description="sentences per update: see `scale_batch`")
    scale_batch: bool = SCALE_BATCH
    mask_probability: float = Field(0.15, gt=0, lt=1, description="share of the pieces that are masked")


class FinetuneSection(Section):
    """Fine-tuning of the teacher on all languages jointly."""

    epochs: int = Field(3, ge=0, description="passes over the training text; 0 uses the checkpoint without fine-tuning")
    learning_rate: float = Field(5e-5, gt=0, description="highest learning rate")
    batch_sentences: int = Field(32, gt=0, description="sentences per update: see `scale_batch`")
    scale_batch: bool = SCALE_BATCH
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    sampling_temperature: float = SAMPLING_TEMPERATURE
    evaluations_per_epoch: int = Field(1, gt=0, description="evaluations on dev per epoch")
    dev_sentences: int = Field(2000, gt=0, description="most dev sentences per language that select the teacher")
    precision: Precision = "auto"
    masked_language_model: MaskedLanguageModelSection = MaskedLanguageModelSection()


class PseudolabelSection(Section):
    """Labelling of the transfer set by the teacher."""

    batch_pieces: int | None = Field(
        None,
        gt=0,
        description="most pieces per batch, padding included; empty: 65,536 on a GPU, and 512 on a CPU, the most there",
    )
    shard_sentences: int = Field(8192, gt=0, description="sentences per shard of the soft-label store")
    precision: Precision = "auto"
    runtime: Literal["torch", "onnx-int8"] = Field(
        "torch",
        description="`onnx-int8`: int8 on a CPU, for BERT, RoBERTa and XLM-R; see method.md",
    )


class LossWeights(Section):
    """Weights of the losses that one stage adds up."""

    labels: float = Field(1.0, gt=0, description="of the loss on gold labels")
    logits: float = Field(1.0, gt=0, description="of the loss on the teacher's logits")
    representation: float = Field(1.0, gt=0, description="of the loss on the teacher's states")


class TrainSection(Section):
    """Distillation: the strategy and its budget."""

    strategy: Strategy = Field("D3.1", description="losses and their order; see method.md")
    logit_loss: Literal["mse", "soft_cross_entropy", "posterior"] = Field(
        "soft_cross_entropy", description="loss on the teacher's logits; see method.md"
    )
    temperature: float = Field(1.0, gt=0, description="of `soft_cross_entropy` and `posterior`")
    representation_loss: Literal["mse", "cosine", "kld"] = Field("mse", description="loss on the teacher's states")
    loss_weights: LossWeights = LossWeights()
    updates: int = Field(10_000, gt=0, description="most optimiser updates, all stages together")
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate of the cosine schedule")
    final_learning_rate: float = Field(1e-8, ge=0, description="last learning rate of the cosine schedule")
    batch_sentences: int = Field(512, gt=0, description="sentences per update: see `scale_batch`")
    scale_batch: bool = Field(
        False,
        description="as in `finetune`; off, because a small student needs its number of updates",
    )
    sampling_temperature: float = SAMPLING_TEMPERATURE
    micro_batch_pieces: int = Field(65_536, gt=0, description="most pieces in one forward pass of one process")
    evaluate_every: int = Field(250, gt=0, description="updates between evaluations on dev")
    dev_sentences: int = Field(
        2000, gt=0, description="most dev sentences per language that select the student; the report uses all"
    )
    patience: int = Field(6, gt=0, description="evaluations on dev without improvement after which a phase ends")
    teacher_layer: int | None = Field(
        None, ge=0, description="teacher layer of the representation loss; empty: the middle one"
    )
    checkpoint_every_s: float = Field(120.0, ge=0, description="seconds between checkpoints; 0: one after every update")
    precision: Precision = "auto"
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    seed: int | None = Field(
        None, ge=0, description="another seed than the recipe's, for several students of a teacher"
    )


class ShipSection(Section):
    """The rule by which the report says whether the student may be shipped; judged on the 95 % intervals."""

    retention: float | None = Field(
        0.95, gt=0, description="least share of the teacher's F1 that the student keeps; empty: any"
    )
    min_f1: float | None = Field(None, gt=0, le=1, description="least F1 of the student; empty: any")
    min_entities: int = Field(
        50, ge=1, description="gold entities without which a language stays undecided; chosen, not measured"
    )

    @model_validator(mode="after")
    def _some_bound(self) -> ShipSection:
        if self.retention is None and self.min_f1 is None:
            raise ValueError("set retention, min_f1 or both: without a bound there is nothing to judge")
        return self


class EvaluateSection(Section):
    """Scores of the report."""

    splits: Annotated[tuple[Literal["train", "dev", "test"], ...], Field(strict=False)] = Field(
        ("dev", "test"), description="splits to score"
    )
    bootstrap: int = Field(1000, ge=0, description="bootstrap resamples for the 95 % intervals")
    protocol: Literal["strict", "paper"] = Field(
        "strict", description="`paper` adds the papers' scores (32 pieces, conlleval's rules)"
    )
    baselines: bool = Field(
        False, description="also score two baselines: a look-up of training names, and contexts alone"
    )
    examples: int = Field(
        6,
        ge=0,
        le=20,
        description="most sentences that the report quotes of each of its worst cells; 0 if text must not be copied",
    )
    noise_sentences: int = Field(
        1000,
        ge=0,
        le=1000,
        description="most sentences of each language to score again in lower case and with typing errors; 0: none",
    )
    ship: ShipSection = ShipSection()

    @model_validator(mode="after")
    def _some_split(self) -> EvaluateSection:
        if not self.splits:
            raise ValueError("name at least one split to score")
        return self


class ExportSection(Section):
    """The folder that a tagging service loads."""

    formats: Annotated[tuple[ExportFormat, ...], Field(strict=False)] = Field(
        ("hf", "onnx", "onnx-int8"),
        description="any of hf, onnx, onnx-int8, triton, web; see formats.md",
    )
    onnxruntime_web: str | None = Field(
        None, description="folder of npm's onnxruntime-web, required by the format `web`"
    )
    force_int8: bool = Field(
        False, description="publish the int8 graph even if it loses more than 0.3 F1 points on dev"
    )
    licence: str = Field("other", description="licence that the model card names")

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

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="name of the run and of its folder in runs/",
    )
    seed: int = Field(13, ge=0, lt=2**32, description="seed of all random numbers")
    deterministic: bool = Field(
        False, description="whether GPUs repeat their bytes, at some speed; a CPU always does: see scaling.md"
    )
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
            raise ValueError(f"student.crf is an option of these kinds of student: {', '.join(OWN_KINDS)}")
        if self.student.crf and self.train.strategy == "hard":
            raise ValueError("student.crf learns from gold labels, and strategy hard has none")
        return self
