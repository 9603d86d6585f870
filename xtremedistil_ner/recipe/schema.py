"""The schema of a recipe: every field with its type, its bounds and its default.

Defaults live here and nowhere else; `docs/recipes.md` is generated from these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from xtremedistil_ner.names import LANGUAGE_RULE, is_language


def _admit_language(code: str) -> str:
    if not is_language(code):
        raise ValueError(LANGUAGE_RULE)
    return code


Languages = Annotated[tuple[Annotated[str, AfterValidator(_admit_language)], ...], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


def _require_types(types: dict[str, str | None]) -> dict[str, str | None]:
    for old, new in types.items():
        if not old or new in ("", "O"):
            raise ValueError(f"{old!r}: {new!r} maps no type to a type. Write null to leave a type out")
    return types


Types = Annotated[
    Annotated[Names, Tag("union-list")]
    | Annotated[dict[str, str | None], AfterValidator(_require_types), Tag("union-mapping")],
    Discriminator(lambda value: "union-mapping" if isinstance(value, dict) else "union-list"),
]
Precision = Annotated[
    Literal["auto", "float32", "bf16"],
    Field(description="`auto`: bf16 where the device has it natively, float32 elsewhere; `bf16` elsewhere is refused"),
]
ExportFormat = Literal["hf", "onnx", "onnx-int8", "triton", "web"]
Strategy = Literal["D0", "D0-S", "hard", "D1", "D2", "D3.1", "D3.2", "D4.1", "D4.2", "D4.2-control"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_min_length=1)


class HubCorpusSection(_Section):
    """A labelled corpus of the Hugging Face Hub."""

    id: str = Field(description="such as `unimelb-nlp/wikiann`")
    revision: str = Field("main", description="branch, tag or commit; the report has the commit it was")
    config: str = Field("{language}", description="configuration of a language; `{language}` stands for its code")
    languages: Languages = Field(
        (), description="what `all` stands for, as far as the dataset has them; empty: every one that `config` finds"
    )
    words: str = Field("tokens", description="column of the words")
    tags: str = Field("ner_tags", description="column of the tags, names or numbers of a ClassLabel")
    tag_names: Names = Field((), description="names of numbered tags, in order, where the column does not tell")
    train: str = Field("train", description="name of the split that teaches")
    dev: str = Field("validation", description="name of the split that selects")
    test: str = Field("test", description="name of the split that is scored")


class ColumnsSection(_Section):
    """Which columns of a column file have the words and the tags, counted from 1."""

    word: int | None = Field(None, ge=1, description="empty: 1, or 2 where column 1 numbers the words")
    tag: int | None = Field(
        None,
        ge=1,
        description="empty: the last one with tags; where column 1 numbers the words, the one after the word",
    )

    @model_validator(mode="after")
    def _two_columns(self) -> ColumnsSection:
        if self.word is not None and self.word == self.tag:
            raise ValueError(f"column {self.word} cannot have both the words and the tags")
        return self


class CorpusSection(_Section):
    """The labelled corpora: `demo` (built in, synthetic), a folder `<lang>/{train,dev,test}.tsv`, or the Hub's."""

    path: str | None = Field("demo", description="folder or URL with one folder per language; `demo`: built in")
    hub: HubCorpusSection | None = Field(None, description="a corpus of the Hub, in place of `path`")
    languages: Languages = Field((), description="language codes; empty: every language of the corpus")
    columns: ColumnsSection = ColumnsSection()
    types: Types = Field(
        (),
        description="list: the entity types, and no others; mapping: types by new names, null for those to leave out; "
        "empty: the types that the training tags have",
    )
    train_sentences: int | None = Field(None, gt=0, description="largest number of training sentences per language")

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


class HubTextSection(_Section):
    """A text column of a dataset of the Hugging Face Hub."""

    id: str
    revision: str = Field("main", description="branch, tag or commit; the report has the commit it was")
    config: str = Field("{language}", description="configuration of a language; `{language}` stands for its code")
    split: str = "train"
    text: str = Field("text", description="column: sentences, or lists of words")


class TransferSection(_Section):
    """The unlabelled text that the teacher labels."""

    training_text: bool = Field(True, description="use all labelled training sentences, without their tags")
    path: str | None = Field(
        None,
        description="folder or URL with `<lang>.txt`, `.jsonl` or `.parquet`, or one such file; `demo`: built-in text",
    )
    text: str = Field("text", description="column of `.jsonl` and `.parquet` files: sentences, or lists of words")
    hub: HubTextSection | None = Field(None, description="a dataset of the Hub")
    languages: Languages = Field(
        (), description="empty: corpus.languages, and where that is empty too, those of the corpus and of the text"
    )
    sentences: int | None = Field(
        None, gt=0, description="largest number of sentences per language beside the training text"
    )

    @model_validator(mode="after")
    def _some_text(self) -> TransferSection:
        if not self.training_text and self.path is None and self.hub is None:
            raise ValueError("give a path or hub, or training_text: true")
        return self


class ShapeSection(_Section):
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


class VoterSection(_Section):
    """One more teacher, fine-tuned already: the teachers' log-probabilities are averaged word by word."""

    checkpoint: str = Field(description="folder or Hub id of a token classifier, such as another run's `teacher`")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    labels: dict[str, str | None] = Field({}, description=LABELS)
    weight: float = Field(1.0, gt=0)


class TeacherSection(_Section):
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


class MaskedLanguageModelSection(_Section):
    """Masked-language-model training on the transfer set, before fine-tuning."""

    updates: int = Field(0, ge=0, description="optimiser updates; 0: none")
    learning_rate: float = Field(1e-4, gt=0)
    batch_sentences: int = Field(64, gt=0)
    mask_probability: float = Field(0.15, gt=0, lt=1)


class FinetuneSection(_Section):
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


class PseudolabelSection(_Section):
    """Soft labels of the transfer set."""

    batch_pieces: int = Field(4096, gt=0, description="piece budget of a batch; on CPU at most 512 are used")
    shard_sentences: int = Field(8192, gt=0)
    precision: Precision = "auto"
    runtime: Literal["torch", "onnx-int8"] = Field(
        "torch",
        description="`onnx-int8`: int8 matrices on CPU, for teachers that are a BERT, RoBERTa or XLM-R; refused where "
        "their labels leave those of float32",
    )


OwnKind = Literal["bilstm", "cnn"]
OWN_KINDS: tuple[str, ...] = get_args(OwnKind)


class TransformerSection(_Section):
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


class CnnSection(_Section):
    """Convolutions with residual sums; the pieces that layer i, from 0, looks at are 2**i apart."""

    layers: int = Field(3, gt=0, le=8)
    kernel: int = Field(5, gt=1, description="pieces of a convolution, an odd number")

    @model_validator(mode="after")
    def _has_a_middle(self) -> CnnSection:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not odd")
        return self


class StudentSection(_Section):
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


class LossWeights(_Section):
    """Weights of losses that are added up in one stage."""

    labels: float = Field(1.0, gt=0)
    logits: float = Field(1.0, gt=0)
    representation: float = Field(1.0, gt=0)


class TrainSection(_Section):
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


class EvaluateSection(_Section):
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


class ExportSection(_Section):
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


class Recipe(_Section):
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
