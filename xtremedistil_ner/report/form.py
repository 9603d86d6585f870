"""The keys of `report.json` that tables, comparisons and cards read. Others may stand beside them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Share = float | None


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class TypeForm(_Form):
    """Scores of one type."""

    f1: Share
    support: int


class LanguageForm(_Form):
    """Scores of one language."""

    f1: Share
    f1_low: Share
    f1_high: Share
    support: int
    words_lost: int
    types: dict[str, TypeForm]


class ConfusionForm(_Form):
    """One kind of error and how often it was made."""

    gold: str | None
    predicted: str | None
    kind: str
    count: int


class PaperLanguageForm(_Form):
    """Scores of one language by the papers' protocol."""

    f1: Share


class PaperProtocolForm(_Form):
    """Scores by the papers' protocol."""

    macro_f1: Share
    languages: dict[str, PaperLanguageForm]


class SplitForm(_Form):
    """The scores of a model on one split."""

    parameters: int
    macro_f1: Share
    std_f1: Share
    languages: dict[str, LanguageForm]


class ModelForm(SplitForm):
    """An entry of `models`."""

    errors: dict[str, int] = {}
    confusions: list[ConfusionForm] = []
    paper_protocol: PaperProtocolForm | None = None
    identity: str = ""
    dev: SplitForm | None = None
    test: SplitForm | None = None
    train: SplitForm | None = None


class BoundsForm(_Form):
    """An interval."""

    low: Share
    high: Share


class RetentionForm(_Form):
    """What the student kept of the teacher's F1."""

    macro: Share
    languages: dict[str, Share]
    macro_low: Share = None
    macro_high: Share = None
    intervals: dict[str, BoundsForm] = {}


class TransferForm(_Form):
    """Counts of a language's transfer text."""

    read: int
    duplicates: int
    held_out: int
    kept: int
    words: int
    lost_words: int


class DataForm(_Form):
    """What was read, and what was lost on the way."""

    transfer: dict[str, TransferForm]
    repaired_tags: dict[str, int]
    skipped_lines: dict[str, int] = {}
    corpus: dict[str, Any] = {}
    languages_lacking: list[str] = []
    languages_not_scored: list[str] = []
    scored: dict[str, dict[str, str]] = {}


class PapersMeanForm(_Form):
    """The papers' values of one language, or their mean."""

    mbert_joint: Share
    xtremedistil: Share


class PapersForm(_Form):
    """The papers' values."""

    note: str
    languages: dict[str, PapersMeanForm]
    mean: PapersMeanForm
    mean_of_these: PapersMeanForm


class StageForm(_Form):
    """What a stage cost."""

    seconds: float
    processes: int


class RunForm(_Form):
    """How the report was made."""

    name: str
    split: str
    strategy: str
    fingerprint: str = ""
    stages: dict[str, StageForm] = {}
    bytes: dict[str, int] = {}
    recipe: dict[str, Any] = {}
    versions: dict[str, str] = {}


class ReportForm(_Form):
    """The whole report."""

    synthetic: bool
    models: dict[str, ModelForm]
    retention: RetentionForm
    compression: float
    data: DataForm
    papers: PapersForm | None = None
    run: RunForm
