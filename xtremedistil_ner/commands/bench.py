"""The command that measures speed and memory: `bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xtremedistil_ner.commands.next_steps import show_next
from xtremedistil_ner.commands.options import CorpusOption, JsonOption, SplitOption
from xtremedistil_ner.commands.runs import echo
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.tagging.export_reader import find_export

bench_app = typer.Typer(rich_markup_mode=None)


@bench_app.command()
def bench(
    exports: Annotated[
        list[Path], typer.Argument(metavar="EXPORT...", help="Export folders, or run folders that have one.")
    ],
    stage: Annotated[Literal["tag", "label", "train"], typer.Option(help="What to time.")] = "tag",
    teacher: Annotated[
        str,
        typer.Option(
            metavar="DIR_OR_SHAPE",
            help="Teacher: a folder, a shape with random weights (`mbert`, `minilm-12`), or `none`.",
        ),
    ] = "mbert",
    against: Annotated[str, typer.Option(help="Peers to time as well, such as `spacy,hf-pipeline`.")] = "",
    corpus: CorpusOption = "demo",
    split: SplitOption = "test",
    batches: Annotated[str, typer.Option(help="Batch sizes in sentences (`tag` and `train`).")] = "1,32,128",
    lengths: Annotated[str, typer.Option(help="Sentence lengths in word pieces (`tag`).")] = "16,32,64,128",
    threads: Annotated[
        int, typer.Option(min=1, help="Threads; with 1 on a CPU, process CPU time is measured, else wall time.")
    ] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds per comparison; results are medians over them.")] = 9,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Device of the models.")] = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the JSON record. [default: bench/ of the run, else ./bench]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure speed and memory against a teacher and peers."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy and torch read them
        os.environ[name] = str(threads)
    from xtremedistil_ner.bench.run import run_bench
    from xtremedistil_ner.bench.settings import BenchSettings
    from xtremedistil_ner.commands.terminal import TerminalReporter

    settings = BenchSettings(
        stage=stage,
        teacher=None if teacher == "none" else teacher,
        against=tuple(filter(None, against.split(","))),
        corpus=corpus,
        split=split,
        batches=_numbers(batches, "--batches"),
        lengths=_numbers(lengths, "--lengths"),
        threads=threads,
        rounds=rounds,
        device=device,
    )
    exports = [find_export(export) for export in exports]
    with TerminalReporter(quiet=as_json) as tell:
        record, written = run_bench(exports, settings, out or _default_folder(exports[0]), tell)
    echo(record if as_json else _format(record, written))
    run = exports[0].parent
    if not as_json and RunFolder(run).report.is_file():
        show_next(("report", run), look_at=written)


def _format(record: dict[str, Any], written: Path) -> str:
    from xtremedistil_ner.commands.terminal import format_tables
    from xtremedistil_ner.report.speed import speed_tables

    return format_tables(speed_tables(record)) + f"\n\nwrote {written}"


def _default_folder(export: Path) -> Path:
    run = RunFolder(export.resolve().parent)
    return run.bench if run.recipe.is_file() else Path("bench")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UsageError(f"{option} {text!r}: give positive numbers, such as 1,32,128.")
    return numbers
