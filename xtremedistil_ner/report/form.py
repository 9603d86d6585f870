"""The keys of `report.json` that its readers rely on; there may be others.

A comparison reads less than tables and cards do: it takes reports of earlier versions, and shortened ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, JsonValue

Share = float | None
Value = TypeVar("Value")
_MOST_KEYS = 10_000


def _bounded(value: object) -> object:
    """Refuse a mapping with too many keys before its entries are read; pydantic's own bound reads them first."""
    if isinstance(value, Mapping) and len(value) > _MOST_KEYS:
        raise ValueError(f"{len(value)} keys are more than {_MOST_KEYS}")
    return value


Keyed = Annotated[Mapping[str, Value], BeforeValidator(_bounded)]
"""By language, type or file; the bound and `FailFast` keep a broken report from a million complaints, in GBs."""
Rows = Annotated[list[Value], FailFast()]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class ComparedLanguage(_Form):
    """Scores of one language, as far as a comparison reads them."""

    f1: Share


class ComparedSplit(_Form):
    """Scores on another split."""

    macro_f1: Share


class ComparedModel(_Form):
    """An entry of `models`."""

    parameters: int
    macro_f1: Share
    std_f1: Share
    languages: Keyed[ComparedLanguage]
    identity: str = ""
    dev: ComparedSplit | None = None
    test: ComparedSplit | None = None
    train: ComparedSplit | None = None


class ComparedRetention(_Form):
    """The student's F1 over the teacher's."""

    macro: Share
    languages: Keyed[Share]
    macro_low: Share = None
    macro_high: Share = None


class ComparedData(_Form):
    """Which sentences were scored."""

    scored: Keyed[Keyed[str]] = {}


class ComparedStage(_Form):
    """What a stage cost."""

    seconds: float


class _Settings(_Form):
    """A section of a recipe whose settings may be any JSON values."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


class ComparedTraining(_Settings):
    """The section about the student's training."""

    seed: int | None = None


class ComparedRecipe(_Settings):
    """A recipe, as far as it says which runs differ by their seeds alone."""

    seed: int | None = None
    train: ComparedTraining = ComparedTraining()


class ComparedMaking(_Form):
    """How the report was made."""

    name: str
    split: str = "test"
    strategy: str | None = None
    stages: Keyed[ComparedStage] = {}
    recipe: ComparedRecipe = ComparedRecipe()


class ComparedReport(_Form):
    """A report, as far as a comparison reads it."""

    synthetic: bool
    models: Keyed[ComparedModel]
    retention: ComparedRetention
    compression: float
    data: ComparedData = ComparedData()
    run: ComparedMaking


class TypeForm(_Form):
    """Scores of one type."""

    f1: Share
    support: int


class LanguageForm(ComparedLanguage):
    """Scores of one language."""

    f1_low: Share
    f1_high: Share
    support: int
    words_lost: int
    types: Keyed[TypeForm]


class ConfusionForm(_Form):
    """One kind of error and how often it was made."""

    gold: str | None
    predicted: str | None
    kind: str
    count: int


class PaperProtocolForm(_Form):
    """Scores by the papers' protocol."""

    macro_f1: Share
    languages: Keyed[ComparedLanguage]


class ReliabilityForm(_Form):
    """Entities with scores between two bounds: how many, their mean score, and the share of right ones."""

    low: float
    high: float
    entities: int
    score: float
    precision: float


class CalibrationForm(_Form):
    """Whether the scores of entities mean what they say."""

    error: Share
    bins: Rows[ReliabilityForm]


class PointForm(_Form):
    """A threshold of scores, and what it reaches."""

    threshold: float
    precision: float
    recall: float


class OperatingPointsForm(_Form):
    """The thresholds of a type."""

    precision_95: PointForm | None
    recall_95: PointForm | None


class RawTextForm(_Form):
    """F1 in running text."""

    macro_f1: Share
    languages: Keyed[Share]


class ModelForm(ComparedModel):
    """An entry of `models`."""

    languages: Keyed[LanguageForm]
    errors: Keyed[int] = {}
    confusions: Rows[ConfusionForm] = []
    paper_protocol: PaperProtocolForm | None = None
    calibration: CalibrationForm | None = None
    raw_text: RawTextForm | None = None
    noise: Keyed[Keyed[Rows[int]]] = {}
    macro_low: Share = None
    macro_high: Share = None
    operating_points: Keyed[OperatingPointsForm] = {}


class BoundsForm(_Form):
    """An interval."""

    low: Share
    high: Share


class RetentionForm(ComparedRetention):
    """The student's F1 over the teacher's, with intervals."""

    intervals: Keyed[BoundsForm] = {}


class TransferForm(_Form):
    """Counts of a language's transfer text."""

    read: int
    duplicates: int
    held_out: int
    kept: int
    words: int
    lost_words: int


class DataForm(ComparedData):
    """What was read, and what was lost on the way."""

    transfer: Keyed[TransferForm]
    repaired_tags: Keyed[int]
    skipped_lines: Keyed[int] = {}
    corpus: Keyed[Any] = {}
    languages_lacking: Rows[str] = []
    languages_not_scored: Rows[str] = []


class PapersValuesForm(_Form):
    """The papers' values of one language, or their mean."""

    mbert_joint: Share
    xtremedistil: Share


class PapersForm(_Form):
    """The papers' values."""

    note: str
    languages: Keyed[PapersValuesForm]
    mean: PapersValuesForm
    mean_of_these: PapersValuesForm


class StageForm(ComparedStage):
    """What a stage cost."""

    processes: int
    words: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0


class LookForm(_Form):
    """A look at loss and dev in training."""

    phase: str
    total: int
    update: int = 0
    loss: Share = None
    score: Share = None


class MakingForm(ComparedMaking):
    """How the report was made."""

    split: str
    strategy: str
    stages: Keyed[StageForm]
    fingerprint: str = ""
    bytes: Keyed[int] = {}
    training: Keyed[Rows[LookForm]] = {}
    versions: Keyed[str] = {}


class CountedForm(_Form):
    """Counts of a model's entities."""

    correct: int
    predicted: int
    gold: int
    f1: float


class SliceForm(_Form):
    """Entities that have something in common."""

    group: str
    slice: str
    teacher: CountedForm
    student: CountedForm


class SpanForm(_Form):
    """An entity of an example."""

    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(ge=0)]
    type: str


class ExampleForm(_Form):
    """A sentence with the entities of corpus and models."""

    outcome: str
    words: Rows[str]
    gold: Rows[SpanForm]
    teacher: Rows[SpanForm]
    student: Rows[SpanForm]


class CellForm(_Form):
    """Examples of a language and type."""

    language: str
    type: str
    outcomes: Keyed[int]
    examples: Annotated[Rows[ExampleForm], Field(max_length=20)]


class RuleForm(_Form):
    """The rule of a verdict."""

    retention: Share
    min_f1: Share
    min_entities: int


class JudgedForm(_Form):
    """A verdict on one language or on the whole."""

    verdict: Literal["ship", "undecided", "do not ship"]
    reason: str


class VerdictForm(_Form):
    """Whether the student may be shipped."""

    rule: RuleForm
    whole: JudgedForm
    languages: Keyed[JudgedForm]
    act_on: Rows[str]


class ReportForm(ComparedReport):
    """A whole report, as tables and cards read it."""

    models: Keyed[ModelForm]
    retention: RetentionForm
    data: DataForm
    papers: PapersForm | None = None
    run: MakingForm
    verdict: VerdictForm | None = None
    slices: Rows[SliceForm] = []
    examples: Annotated[Rows[CellForm], Field(max_length=3)] = []
