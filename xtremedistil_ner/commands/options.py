"""The arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from xtremedistil_ner.errors import UsageError


def _require_path(path: str) -> str:
    if not path:
        raise UsageError("The path of the corpus is empty. Give a folder, a URL, or `demo`.")
    return path


Protocol = Literal["strict", "paper"]
Split = Literal["train", "dev", "test"]
Graph = Literal["float32", "int8"]

_CORPUS_HELP = "Labelled corpus: a folder, a URL, or `demo`."

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Recipe name (see `xner recipes`), recipe file, or run folder.")
]
ExportFolder = Annotated[Path, typer.Argument(metavar="EXPORT", help="Export folder, or a run folder that has one.")]
CorpusArgument = Annotated[str, typer.Argument(metavar="PATH", help=_CORPUS_HELP, callback=_require_path)]

CorpusOption = Annotated[str, typer.Option(metavar="PATH", help=_CORPUS_HELP, callback=_require_path)]
SplitOption = Annotated[Split, typer.Option(help="Split of the corpus to read.")]
LanguagesOption = Annotated[
    str | None, typer.Option("--langs", help="Language codes such as `en,de`, or `all`. [default: the recipe's]")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Columns of words and tags, counted from 1, such as `word=1,tag=2`. [default: guessed from the file]"
    ),
]
TypesOption = Annotated[
    str, typer.Option(metavar="OLD=NEW,OLD=…", help="New names for entity types; `OLD=` leaves a type out.")
]
OverridesOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Set a recipe field; may be repeated.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Run folder to write. [default: RECIPE if it is one, else runs/<recipe name>]"),
]
TakeFromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        exists=True,
        file_okay=False,
        help="Another run folder; reuse its teacher and soft labels. What does not fit is an error.",
    ),
]
RebuildOption = Annotated[
    bool, typer.Option("--rebuild", help="Make the teacher or soft labels again if --from has none that fit.")
]
ProtocolOption = Annotated[
    Protocol | None,
    typer.Option(help="`paper` adds scores by the papers' protocol to the strict ones. [default: the recipe's]"),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(min=1, help="Processes per stage. [default: one per GPU; on CPU, what suits the stage]"),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would run and why, but run nothing.")]
GraphOption = Annotated[
    Graph | None, typer.Option("--precision", help="Graph of an export. [default: float32 if the export has it]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
