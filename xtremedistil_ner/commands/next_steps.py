"""What a command says at its end on standard error: what to look at, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES

if TYPE_CHECKING:
    from xtremedistil_ner.pipeline.run import PipelineResult

Command = Sequence[str | Path]


def show_next(*commands: Command, look_at: Path | None = None) -> None:
    """Name a file to look at and commands that continue; words in capitals are for the user to fill in."""
    if look_at is not None:
        typer.echo(f"Look at: {look_at}", err=True)
    if commands:
        typed = "   or   ".join(shlex.join(("xner", *map(str, command))) for command in commands)
        typer.echo(f"Next: {typed}", err=True)


def show_next_of_run(result: PipelineResult, folder: Path, *, dry_run: bool) -> None:
    """What follows a run: its use if it has an export, else the stages that are missing."""
    run, last = RunFolder(folder), result.steps[-1]
    if dry_run:
        if any(step.is_due for step in result.steps):
            typer.echo("Next: the same command without --dry-run", err=True)
        return
    page = run.report_html if result.report is not None else None
    if last.state in ("done", "reused"):
        show_next(*uses_of(run.export), ("report", folder), look_at=page)
    else:
        show_next(("distil", folder), look_at=page)


def uses_of(export: Path) -> tuple[Command, ...]:
    """Commands that use an export; none if it has no ONNX graph."""
    has_graph = any((export / name).is_file() for name in GRAPH_FILES.values())
    return (("tag", export, "FILE"), ("serve", export)) if has_graph else ()
