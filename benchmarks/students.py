"""Students of one teacher side by side: one command for a table of strategies, weights and seeds.

    python benchmarks/students.py OUT folder --langs en,de --set corpus.path=DIR --set student.vocabulary=vocab.txt \
      --student D0-S:train.strategy=D0-S --student D3.1:train.strategy=D3.1 \
      --student D3.1-x10:train.strategy=D3.1,train.loss_weights.labels=10 --seeds 13,14,15

`OUT/teacher` is trained and labels once; every student goes into `OUT/NAME` or, with several seeds, `OUT/NAME-SEED`,
through `xner distil --from OUT/teacher`. What is there is reused: a run that was killed goes on. The table on standard
output has the mean of the seeds and, in brackets, the standard deviation over them: macro-F1, retention, the language
that kept least, calibration error, loss in running text, seconds of training. With `--until train` nothing is scored
but dev's selection, which is enough to choose by; test is for the few that are left. With a report of each student,
a second table has the difference of each from the first with its 95 % interval, as `xner compare` computes it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtremedistil_ner.report.cells import Table, mean_cell
from xtremedistil_ner.report.compare import compare_runs, open_runs
from xtremedistil_ner.report.compare_tables import comparison_tables
from xtremedistil_ner.report.markdown import format_table


@dataclass(frozen=True, slots=True)
class Student:
    """A student: the name of its rows and the recipe fields that make it."""

    name: str
    settings: tuple[str, ...]


def main() -> None:
    """Train what is missing and print the table."""
    options = _options()
    common = [options.recipe, "--langs", options.langs, *(f"--set={setting}" for setting in options.set)]
    teacher = options.out / "teacher"
    _distil(*common, "--out", str(teacher), "--until", "pseudolabel")
    folders: dict[str, list[Path]] = {}
    for student in options.student:
        for seed in options.seeds:
            folder = options.out / (student.name if len(options.seeds) == 1 else f"{student.name}-{seed}")
            settings = [f"--set={setting}" for setting in (*student.settings, f"train.seed={seed}")]
            where = ("--out", str(folder), "--from", str(teacher), "--until", options.until)
            _distil(*common, *settings, *where)
            folders.setdefault(student.name, []).append(folder)
    sys.stdout.write(f"{format_table(_means(folders, options.until))}\n")
    if options.until == "evaluate" and len(folders) > 1:
        compared = compare_runs(open_runs([folder for of_seeds in folders.values() for folder in of_seeds]))
        *_, differences = comparison_tables(compared)
        sys.stdout.write(f"\n{format_table(differences)}\n\n{differences.note}\n")


def _distil(*arguments: str) -> None:
    """Run `xner distil`; what it prints goes to standard error, so that standard output has the table alone."""
    command = [sys.executable, "-m", "xtremedistil_ner", "distil", *arguments]
    if code := subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise SystemExit(code)


def _numbers(folder: Path, until: str) -> dict[str, float | None]:
    looks = json.loads((folder / "student" / "training.json").read_text(encoding="utf-8"))["looks"]
    numbers = {"selection": 100 * max(look["score"] for look in looks)}
    seconds = json.loads((folder / "timings.json").read_text(encoding="utf-8"))["train"]["seconds"]
    if until == "train":
        return {**numbers, "seconds": seconds}
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    teacher, student, retention = report["models"]["teacher"], report["models"]["student"], report["retention"]
    return {
        **numbers,
        "teacher": 100 * teacher["macro_f1"],
        "student": 100 * student["macro_f1"],
        "retention %": 100 * retention["macro"],
        "least kept %": 100 * min(retention["languages"].values()),
        "calibration error": 100 * student["calibration"]["error"] if "calibration" in student else None,
        "running text": 100 * (student["raw_text"]["macro_f1"] - student["macro_f1"]),
        "seconds": seconds,
    }


def _means(folders: Mapping[str, Sequence[Path]], until: str) -> Table:
    """A student a row: the means of its seeds."""
    rows = []
    for name, of_seeds in folders.items():
        numbers = [_numbers(folder, until) for folder in of_seeds]
        heads = list(numbers[0])
        rows.append((name, *(mean_cell([of_seed[head] for of_seed in numbers], _number) for head in heads)))
    return Table("", ("student", *heads), tuple(rows))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _student(text: str) -> Student:
    name, _, settings = text.partition(":")
    return Student(name, tuple(filter(None, settings.split(","))))


def _options() -> Any:  # noqa: ANN401 - argparse's
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("recipe")
    parser.add_argument("--langs", default="all")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--student", action="append", type=_student, required=True, metavar="NAME[:FIELD=VALUE,…]")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[13])
    parser.add_argument("--until", choices=("train", "evaluate"), default="evaluate")
    return parser.parse_args()


if __name__ == "__main__":
    main()
