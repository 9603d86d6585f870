"""Reports of models made of counts, without any model."""

from __future__ import annotations

from collections import Counter

import numpy as np

from xtremedistil_ner.evaluation.score_split import SplitScores
from xtremedistil_ner.evaluation.scoring import score_language
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.report.build import build_report, build_retention, model_entry

RUN = {
    "name": "tiny",
    "split": "test",
    "strategy": "D1",
    "stages": {"train": {"seconds": 61.4, "processes": 2}},
    "precision": {"train": "bf16"},
}


def entry(parameters, *, confusions=None, **counts):
    """One model; counts per language are [correct, predicted, gold] of types PER and LOC in one sentence."""
    scheme = LabelScheme(("PER", "LOC"))
    scores = {
        language: score_language(np.array([rows], dtype=np.int64), scheme, bootstrap=10, seed=1, words_lost=1)
        for language, rows in counts.items()
    }
    return model_entry(parameters, SplitScores(scores, confusions=Counter(confusions or {})))


def build(teacher, student, *, synthetic=False, papers=None, run=RUN):
    return build_report(
        {"teacher": teacher, "student": student},
        retention=build_retention(teacher, student, ({}, {}), resamples=0, seed=0),
        synthetic=synthetic,
        data={"transfer": {}, "repaired_tags": {}},
        papers=papers,
        run=run,
    )


def rows_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
