"""The command that writes a recipe for a corpus of the user's own: `init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from xtremedistil_ner.commands.next_steps import show_next
from xtremedistil_ner.commands.runs import echo
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.run_folder.whole_files import write_text

init_app = typer.Typer(rich_markup_mode=None)


@init_app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the new recipe.yaml; made if missing.")],
    corpus: Annotated[
        str | None, typer.Option(metavar="PATH", help="Labelled corpus: a folder or URL with a folder per language.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="PATH", help="Unlabelled text: a folder with files such as en.txt, or a file.")
    ] = None,
    teacher: Annotated[
        str, typer.Option(metavar="DIR_OR_ID", help="Encoder: a folder or Hub id, or `scratch` to train one.")
    ] = "bert-base-multilingual-cased",
    vocabulary: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="WordPiece vocab.txt, or `trained`. [default: the teacher's pieces]"),
    ] = None,
    student: Annotated[
        Literal["tiny", "small", "medium", "large"], typer.Option(help="Size of the student.")
    ] = "small",
) -> None:
    """Write a commented recipe for your own corpus.

    It reads the corpus, and chooses the length of training by its size. On a terminal it asks for a missing --corpus.
    """
    target = folder / "recipe.yaml"
    if target.exists():
        raise UsageError(f"{target}: there is a recipe. Give another folder, or move it away.")
    if not corpus and sys.stdin is not None and sys.stdin.isatty():
        corpus = typer.prompt("Labelled corpus (a folder with one folder per language)", err=True)
    if not corpus:
        raise UsageError("--corpus is missing. Give a folder with one folder per language, such as en/train.tsv.")
    from xtremedistil_ner.pipeline.new_recipe import draft_recipe, recipe_name

    new = draft_recipe(
        recipe_name(folder), corpus=corpus, text=text, teacher=teacher, vocabulary=vocabulary, student=student
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(target, new.text)
    echo(f"found {new.found}\nwrote {target}")
    show_next(("distil", target, "--dry-run"), ("distil", target), look_at=target)
