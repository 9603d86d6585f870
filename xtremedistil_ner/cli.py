"""The command line: `cli.py` and the `cli_*.py` alone print results and end the process.

Heavy imports stand inside the commands, because `--help` must not pay for torch. Results go to standard output,
progress and errors to standard error; `--json` prints one JSON value and no progress.
"""

from __future__ import annotations

import io
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.cli_bench import bench_app
from xtremedistil_ner.cli_runs import (
    Json,
    Protocol,
    format_json,
    packaged_recipes,
    read_languages,
    runs_app,
)
from xtremedistil_ner.cli_service import GraphOption, service_app
from xtremedistil_ner.errors import CorpusError, Interrupted, ResourceError, UsageError, XnerError
from xtremedistil_ner.terminal import TerminalReporter, format_check, format_findings, format_scores, format_stats

if TYPE_CHECKING:
    from types import FrameType


def _named(path: str) -> str:
    if not path:
        raise UsageError("The path of the corpus is empty. Give a folder, a URL, or `demo`.")
    return path


CorpusPath = Annotated[str, typer.Argument(metavar="PATH", help="Corpus folder or URL, or `demo`.", callback=_named)]

app = typer.Typer(
    help="Distil large multilingual entity taggers into small, fast ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Look at a corpus before a run.", no_args_is_help=True, rich_markup_mode=None)
for _part in (runs_app, service_app, bench_app):
    app.registered_commands += _part.registered_commands  # before this file's own, as `--help` lists them
app.add_typer(corpus_app, name="corpus")


def main() -> None:
    """Run `xner`: an `XnerError` becomes one message and its exit code, anything else keeps its traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="xner")
    except XnerError as error:
        typer.echo(f"xner: {error}", err=True)
        sys.exit(error.exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("Stopped. What was finished is kept; the same command goes on from there.")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from xtremedistil_ner import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, a student or an export.")],
    corpus: Annotated[str, typer.Option(metavar="PATH", help="Corpus folder or URL, or `demo`.", callback=_named)],
    split: Annotated[Literal["train", "dev", "test"], typer.Option(help="Split to score.")] = "test",
    langs: Annotated[str, typer.Option(help="`all`, or codes such as `en,de`.")] = "all",
    protocol: Annotated[Protocol, typer.Option(help="`paper`: the papers' way of scoring beside it.")] = "strict",
    precision: GraphOption = None,
    as_json: Json = False,
) -> None:
    """Score a model per language: strict entity F1 of whole sentences."""
    codes = read_languages(langs)
    from xtremedistil_ner.stages.evaluate import evaluate_model

    with TerminalReporter(quiet=as_json) as report:
        scores = evaluate_model(
            model,
            corpus=corpus,
            split=split,
            languages=codes,
            paper_protocol=protocol == "paper",
            graph=precision,
            report=report,
        )
    typer.echo(format_json(scores) if as_json else format_scores(scores))


@corpus_app.command("check")
def corpus_check(path: CorpusPath) -> None:
    """Read every file of a corpus and list what is wrong with it."""
    from xtremedistil_ner.corpus.check import check_corpus

    check = check_corpus(path)
    if check.problems:
        raise CorpusError("\n".join(check.problems))
    typer.echo(format_check(check, without_secrets(path)))


@corpus_app.command("stats")
def corpus_stats(path: CorpusPath) -> None:
    """Count sentences, words and entities per language and split."""
    from xtremedistil_ner.corpus import check

    typer.echo(format_stats(check.corpus_stats(path)))


@app.command()
def languages() -> None:
    """List the 41 languages of the papers."""
    from xtremedistil_ner.languages import WIKIANN_LANGUAGES, language_name

    for code in WIKIANN_LANGUAGES:
        typer.echo(f"{code}  {language_name(code)}")


@app.command()
def doctor(
    out: Annotated[Path, typer.Option(help="Where runs are to be written.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Look at what this machine has and lacks for a run; ends with 5 where something keeps runs from working."""
    from xtremedistil_ner.doctor import examine

    findings = examine(out, recipes=len(packaged_recipes()))
    typer.echo(format_json([asdict(finding) for finding in findings]) if as_json else format_findings(findings))
    problems = [finding.name for finding in findings if finding.state == "problem"]
    if problems:
        raise ResourceError(f"{', '.join(problems)}: see above for what is wrong and what to do.")
