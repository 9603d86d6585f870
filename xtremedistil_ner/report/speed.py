"""What `xner bench` measured, as tables; a run's report shows them if its folder has a record.

Without a benchmark of tagging, it shows the short probe that every export ends with.

Units: medians with quartiles in brackets; ratios are medians over rounds in which both ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.report.cells import Table
from xtremedistil_ner.run_folder.artefacts import published_fingerprint
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.whole_files import read_json

RECORD_SCHEMA = 2
PROBE = "probe"
"""The stage of a record that an export ends with."""

_REFERENCE = (32, 32)
"""Batch and length, in pieces, of the table that has every model and runtime."""


def read_records(run: RunFolder) -> list[dict[str, Any]]:
    """The records in a run's folder that are about the export it has now."""
    current = published_fingerprint(run.export)
    records = []
    for path in sorted(run.bench.glob("*.json")):
        try:
            record = read_json(path)
            if record["schema"] == RECORD_SCHEMA and current is not None and current in record["exports"].values():
                records.append(record)
        except (ArtefactError, OSError, LookupError, TypeError, AttributeError):
            continue  # not one of ours
    return records


def read_speed(run: RunFolder) -> list[Table]:
    """The tables of those records that are whole; those of a probe if tagging was not benchmarked."""
    tables: list[Table] = []
    records = read_records(run)
    is_benchmarked = any(record.get("stage") == "tag" for record in records)
    for record in records:
        if is_benchmarked and record.get("stage") == PROBE:
            continue
        with suppress(LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            tables += speed_tables(record)
    return tables


def student_rates(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, str], Mapping[str, float]]:
    """The student's sentences/s in raw text by processor, threads and graph.

    Records of one export alone count, because the names of several differ between runs.
    """
    rates = {}
    for record in records:
        if record["stage"] == "tag" and len(record["exports"]) == 1:
            (student,) = record["exports"]
            machine = record["machine"]
            for graph in ("float32", "int8"):
                if speed := record["raw_text"]["sentences_per_s"].get(f"{student} {graph}"):
                    rates[machine["processor"], machine["threads"], graph] = speed
    return rates


def speed_tables(record: Mapping[str, Any]) -> list[Table]:
    """The tables of one stage's record."""
    if record["stage"] == PROBE:
        return [_probe_table(record)]
    tables = {"tag": _tag_tables, "label": _label_tables, "train": _train_tables}[record["stage"]](record)
    return [table for table in (_machine(record), *tables) if table.rows]


def _machine(record: Mapping[str, Any]) -> Table:
    machine = record["machine"]
    clock = "process CPU time" if machine["threads"] == 1 and machine["device"] == "cpu" else "wall time"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rows = (("processor", machine["processor"]), ("threads", str(machine["threads"])), ("clock", clock))
    return Table(f"Machine, stage {record['stage']}", ("", "what"), rows, f"{versions}.")


def _probe_table(record: Mapping[str, Any]) -> Table:
    rows = tuple(
        (graph, _number(measured["sentences_per_s"]), f"{measured['p95_ms']:.2f}")
        for graph, measured in record["graphs"].items()
    )
    workload = record["workload"]
    note = (
        "A short probe at the end of the export, of two seconds, on one core of "
        f"{record['machine']['processor']}: raw text to entities, {workload['sentences']:,} sentences of "
        f"{workload['name']}.{' Synthetic text.' if workload['synthetic'] else ''}"
        " The benchmark (xner bench) measures with care, and compares."
    )
    return Table("Speed, a short probe", ("graph", "sentences/s", "p95 ms, one text at a time"), rows, note)


def _tag_tables(record: Mapping[str, Any]) -> list[Table]:
    cells = {(cell["batch"], cell["length"]): cell for cell in record["grid"]}
    shown = cells.get(_REFERENCE) or next(iter(cells.values()), None)
    return [
        *([_one_cell(record, shown)] if shown else []),
        _all_cells(record),
        _raw_text(record),
        _single_texts(record),
        _sizes(record),
    ]


def _one_cell(record: Mapping[str, Any], cell: Mapping[str, Any]) -> Table:
    columns = {name: f"x {name}" for name in _teacher_runners(cell)}
    rows = []
    for name, speed in cell["sentences_per_s"].items():
        ratios = cell["faster_than_teacher"].get(name, {})
        rows.append(
            (
                name,
                spread_cell(speed),
                *(ratio_cell(ratios.get(teacher)) for teacher in columns),
            )
        )
    note = f"{_about_teachers(record)} Students run in a tagger's batches, a large one in parts.{_about_load(cell)}"
    title = f"Batches of {cell['batch']} x {cell['length']} pieces"
    return Table(title, ("model", "sentences/s", *columns.values()), tuple(rows), note.strip())


def _all_cells(record: Mapping[str, Any]) -> Table:
    """Every size of batch; one column per student's runtime, against the teacher's fastest."""
    names = list(dict.fromkeys(name for cell in record["grid"] for name in cell["faster_than_teacher"]))
    rows = []
    for cell in record["grid"]:
        fastest = cell["fastest_teacher"]
        if fastest is None:
            continue
        ratios = (ratio_cell(cell["faster_than_teacher"].get(name, {}).get(fastest)) for name in names)
        rows.append((f"{cell['batch']} x {cell['length']}", fastest, *ratios))
    note = "Ratio to the speed of the teacher in its fastest runtime."
    return Table("All sizes of batch", ("batch x pieces", "teacher's fastest", *names), tuple(rows), note)


def _raw_text(record: Mapping[str, Any]) -> Table:
    raw, workload = record["raw_text"], record["workload"]
    peers = list(dict.fromkeys(peer for ratios in raw["faster_than"].values() for peer in ratios))
    rows = []
    for name, speed in raw["sentences_per_s"].items():
        ratios = raw["faster_than"].get(name, {})
        words = speed["median"] * workload["words_per_sentence"]
        rows.append((name, spread_cell(speed), f"{words:,.0f}", *(ratio_cell(ratios.get(peer)) for peer in peers)))
    note = (
        f"{workload['name']}: on average {workload['words_per_sentence']:.1f} words and "
        f"{workload['pieces_per_sentence']:.1f} pieces a sentence; each round has other sentences.{_about_load(raw)}"
        f"{' Synthetic text.' if workload['synthetic'] else ''}"
    )
    head = ("raw text to entities", "sentences/s", "words/s", *(f"x {peer}" for peer in peers))
    return Table("Raw text", head, tuple(rows), note)


def _single_texts(record: Mapping[str, Any]) -> Table:
    rows = [
        (name, f"{times['p50_ms']:.2f}", f"{times['p99_ms']:.2f}", f"{times['calls']:,}")
        for name, times in record["single_texts"].items()
    ]
    return Table("One text at a time", ("model", "p50 ms", "p99 ms", "calls"), tuple(rows), "Wall time.")


def _sizes(record: Mapping[str, Any]) -> Table:
    models = record["models"]
    teacher = next((model for model in models.values() if "random_weights" in model), None)
    rows = []
    for name, model in models.items():
        for precision, size in model["bytes"].items():
            smaller = teacher["bytes"]["float32"] / size if teacher and model is not teacher else None
            fewer = teacher["parameters"] / model["parameters"] if teacher and model is not teacher else None
            memory = record["memory_bytes"].get(f"{name} {precision}")
            rows.append(
                (
                    f"{name} {precision}",
                    f"{model['parameters']:,}",
                    "–" if fewer is None else f"{fewer:.1f}",
                    f"{size / 1e6:.2f}",
                    "–" if smaller is None else f"{smaller:.1f}",
                    "–" if memory is None else f"{memory / 1e6:.0f}",
                )
            )
    note = "MB of the weights, without the tokenizer; memory is the most that a fresh process holds while it tags."
    head = ("model", "parameters", "times fewer", "MB", "times smaller", "process MB")
    return Table("Sizes", head, tuple(rows), note)


def _label_tables(record: Mapping[str, Any]) -> list[Table]:
    rows = [
        (
            name,
            spread_cell(speed),
            ratio_cell(record["faster_than_baseline"].get(name)),
            _share(record["useful_pieces"].get(name)),
        )
        for name, speed in record["sentences_per_s"].items()
    ]
    head = ("labelling", "sentences/s", f"x {record['baseline']}", "useful pieces")
    return [Table("Labelling", head, tuple(rows), _about_teachers(record) + _about_load(record))]


def _train_tables(record: Mapping[str, Any]) -> list[Table]:
    rows = [
        (
            f"{cell['name']}, batch {cell['batch']}",
            spread_cell(cell["sentences_per_s"]),
            ratio_cell(cell["faster_than_baseline"]),
            _share(cell["loader_share"]),
        )
        for cell in record["cells"]
    ]
    note = f"Baseline: {record['baseline']}.{_about_load(record)}"
    return [Table("Training", ("student", "sentences/s", "x baseline", "loader"), tuple(rows), note)]


def spread_cell(value: Mapping[str, float]) -> str:
    """A median and its quartiles."""
    low, median, high = (_number(value[name]) for name in ("q1", "median", "q3"))
    return f"{median} ({low}–{high})"


def ratio_cell(value: Mapping[str, float] | None) -> str:
    """A ratio's median and quartiles; a dash where there is none."""
    return "–" if value is None else spread_cell(value)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _teacher_runners(cell: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for ratios in cell["faster_than_teacher"].values() for name in ratios))


def _about_teachers(record: Mapping[str, Any]) -> str:
    random = [name for name, model in record["models"].items() if model.get("random_weights")]
    return f"{', '.join(random)} has random weights, on which speed does not depend." if random else ""


def _about_load(measured: Mapping[str, Any]) -> str:
    load = measured["other_load_cores"]
    return f" Other processes kept {load['median']:.1f} cores busy ({load['q1']:.1f}–{load['q3']:.1f})."
