"""The command that measures speed: `bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xtremedistil_ner.commands.runs import Json, echo
from xtremedistil_ner.commands.terminal import TerminalReporter, format_comparison
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.tagging.export_reader import find_export

bench_app = typer.Typer(rich_markup_mode=None)


@bench_app.command()
def bench(
    exports: Annotated[list[Path], typer.Argument(metavar="EXPORT...", help="Export folders, or their run folders.")],
    stage: Annotated[Literal["tag", "label", "train"], typer.Option(help="What to time.")] = "tag",
    teacher: Annotated[
        str, typer.Option(metavar="DIR_OR_SHAPE", help="Teacher's folder, or a shape: mbert, minilm-12; `none`.")
    ] = "mbert",
    against: Annotated[str, typer.Option(help="Peers, such as `spacy,hf-pipeline`.")] = "",
    corpus: Annotated[str, typer.Option(metavar="PATH", help="Corpus folder or URL, or `demo`.")] = "demo",
    split: Annotated[Literal["train", "dev", "test"], typer.Option(help="Split that is read.")] = "test",
    batches: Annotated[str, typer.Option(help="Sizes of batches.")] = "1,32,128",
    lengths: Annotated[str, typer.Option(help="Lengths in pieces.")] = "16,32,64,128",
    threads: Annotated[int, typer.Option(min=1, help="Threads; with one, process CPU time is measured.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of each comparison.")] = 9,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where models run.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where the JSON goes. [default: the run's, else ./bench]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure speed and memory as ratios in one run."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy and torch read them
        os.environ[name] = str(threads)
    from xtremedistil_ner.bench.run import run_bench
    from xtremedistil_ner.bench.settings import BenchSettings

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


def _format(record: dict[str, Any], written: Path) -> str:
    from xtremedistil_ner.report.speed import speed_tables

    return format_comparison(speed_tables(record)) + f"\n\nwrote {written}"


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
