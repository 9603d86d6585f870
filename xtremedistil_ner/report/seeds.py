"""Runs that differ in their seeds alone, as one group: what a recipe gives is the mean over its seeds, not one run.

Reports without a recipe, of earlier versions or shortened, are groups of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtremedistil_ner.run_folder.files import RunFolder

Seeds = tuple[int | None, int | None]
"""The recipe's seed, and that of the student's training."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run's report under the name it is shown by; `folder` is None for a report file by itself."""

    label: str
    report: Mapping[str, Any]
    folder: RunFolder | None

    @property
    def seeds(self) -> Seeds:
        """The seeds of the run; the training takes the recipe's unless it has its own."""
        recipe = self.report["run"].get("recipe", {})
        seed, of_training = recipe.get("seed"), recipe.get("train", {}).get("seed")
        return seed, seed if of_training is None else of_training


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one recipe with different seeds, under the name that they share."""

    label: str
    runs: tuple[ComparedRun, ...]


def group_runs(runs: Sequence[ComparedRun]) -> list[Group]:
    """Runs whose recipes are equal but for `name`, `seed` and `train.seed`, in the order of the first of each group.

    A run with the seeds of another one is no further seed: it begins a group of its own.
    """
    groups: list[list[ComparedRun]] = []
    for run in runs:
        joined = next((group for group in groups if _is_another_seed(run, group)), None)
        if joined is None:
            groups.append([run])
        else:
            joined.append(run)
    return [Group(label, tuple(group)) for label, group in zip(_group_labels(groups), groups, strict=True)]


def _is_another_seed(run: ComparedRun, group: Sequence[ComparedRun]) -> bool:
    recipe = _recipe_without_seeds(run.report)
    same = recipe is not None and recipe == _recipe_without_seeds(group[0].report)
    return same and run.seeds not in [other.seeds for other in group]


def _recipe_without_seeds(report: Mapping[str, Any]) -> dict[str, Any] | None:
    recipe = report["run"].get("recipe")
    if not recipe:
        return None
    train = {key: value for key, value in recipe.get("train", {}).items() if key != "seed"}
    return {**{key: value for key, value in recipe.items() if key not in ("name", "seed")}, "train": train}


def _group_labels(groups: Sequence[Sequence[ComparedRun]]) -> list[str]:
    """What the names of a group begin with, if that tells it from the others."""
    of_runs = [[run.label for run in group] for group in groups]
    names = [labels[0] if len(labels) == 1 else _shared_start(labels) for labels in of_runs]
    return [
        name if len(labels) == 1 or (name and names.count(name) == 1) else f"{labels[0]} and {len(labels) - 1} more"
        for labels, name in zip(of_runs, names, strict=True)
    ]


def _shared_start(labels: Sequence[str]) -> str:
    """What names such as `D1-13` and `D1-14` begin with, up to the seed."""
    letters = zip(*labels, strict=False)
    length = next((place for place, found in enumerate(letters) if len(set(found)) > 1), min(map(len, labels)))
    return re.sub(r"[-_./]?\d*$", "", labels[0][:length])
