"""Runs to compare, made of counts: a report and the counts per sentence of its student."""

from __future__ import annotations

import json

import numpy as np

from xtremedistil_ner.report.compare import compare_runs, open_runs
from xtremedistil_ner.report.stored import save_counts
from xtremedistil_ner.run_folder.files import RunFolder

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)


def write_run(
    folder, *, right, languages=("en", "no"), identity="", hashes="same", counts=True, synthetic=False, **making
):
    """Write a report and counts of a run: 100 sentences per language, of which the student has `right` right.

    `making` are more keys of `run`, such as `recipe`.
    """
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    f1 = right / 100

    def entry(value, identity, parameters):
        scores = {code: {"f1": value, "f1_low": value, "f1_high": value} for code in languages}
        found = {"identity": identity, "parameters": parameters, "macro_f1": value, "std_f1": 0.0, "languages": scores}
        return {**found, "dev": {"macro_f1": value - 0.01}}

    identity = identity or folder.name
    report = {
        "schema": 1,
        "synthetic": synthetic,
        "models": {"teacher": entry(0.9, "teacher", 1000), "student": entry(f1, identity, 100)},
        "retention": {"macro": f1 / 0.9, "macro_low": f1 / 0.9 - 0.02, "macro_high": f1 / 0.9 + 0.02, "languages": {}},
        "compression": 10.0,
        "data": {"scored": {"test": dict.fromkeys(languages, hashes)}},
        "run": {
            "name": folder.name,
            "split": "test",
            "strategy": "D1",
            "stages": {"train": {"seconds": 61.4}},
            **making,
        },
    }
    run.report.write_text(json.dumps(report), encoding="utf-8")
    if counts:
        rows = np.array([RIGHT] * right + [WRONG] * (100 - right))
        save_counts(run.scores("student"), identity, {"test": dict.fromkeys(languages, rows)})
    return folder


def write_seeds(folder, name, right, *, seeds=(13, 14, 15), strategy="D1"):
    """A run for each seed, with the recipe of its strategy."""
    return [
        write_run(
            folder / f"{name}-{seed}",
            right=of_seed,
            recipe={"name": f"{name}-{seed}", "seed": 13, "train": {"strategy": strategy, "seed": seed}},
        )
        for seed, of_seed in zip(seeds, right, strict=True)
    ]


def compared(*paths):
    return compare_runs(open_runs(paths))
