"""The command line. Only this room prints results; `processes/process_end.py` ends the process.

Commands import heavy modules inside their functions, so that `--help` and `--version` answer quickly. Results go to
standard output, progress and errors to standard error; `--json` prints one JSON value and no progress.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xtremedistil_ner.commands.bench import bench_app
from xtremedistil_ner.commands.init import init_app
from xtremedistil_ner.commands.next_steps import Command, show_next, uses_of
from xtremedistil_ner.commands.options import (
    ColumnsOption,
    CorpusArgument,
    CorpusOption,
    GraphOption,
    JsonOption,
    Protocol,
    SplitOption,
    TypesOption,
)
from xtremedistil_ner.commands.runs import echo, packaged_recipes, read_languages, runs_app
from xtremedistil_ner.commands.service import read_columns, service_app
from xtremedistil_ner.errors import CorpusError, ResourceError, UsageError, quoted
from xtremedistil_ner.processes.process_end import open_streams, require_unicode

if TYPE_CHECKING:
    from xtremedistil_ner.corpus.check import SplitStats


app = typer.Typer(
    help="Distil large multilingual entity taggers into small, fast ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Check or count a corpus before a run.", no_args_is_help=True, rich_markup_mode=None)
tools_app = typer.Typer(rich_markup_mode=None)


def run() -> None:
    """Run the command that the process was started with."""
    open_streams()
    require_unicode(sys.argv)
    app(prog_name="xner")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from xtremedistil_ner import __version__

        echo(__version__)
        raise typer.Exit


@tools_app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a teacher, a student or an export.")],
    corpus: CorpusOption,
    split: SplitOption = "test",
    langs: Annotated[str, typer.Option(help="Language codes such as `en,de`, or `all`.")] = "all",
    columns: ColumnsOption = None,
    protocol: Annotated[
        Protocol, typer.Option(help="`paper` adds scores by the papers' protocol to the strict ones.")
    ] = "strict",
    types: TypesOption = "",
    precision: GraphOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model per language by strict entity F1."""
    codes, options, mapping = read_languages(langs), read_columns(columns), _read_types(types)
    from xtremedistil_ner.commands.terminal import TerminalReporter, format_tables
    from xtremedistil_ner.report.model_tables import model_tables
    from xtremedistil_ner.stages.evaluate_model import evaluate_model

    with TerminalReporter(quiet=as_json) as tell:
        scores = evaluate_model(
            model,
            corpus=corpus,
            split=split,
            languages=codes,
            **options,
            types=mapping,
            paper_protocol=protocol == "paper",
            graph=precision,
            tell=tell,
        )
    echo(scores if as_json else format_tables(model_tables(scores)))
    if not as_json:
        show_next(*uses_of(model), ("evaluate", "OTHER_MODEL", "--corpus", corpus))


@corpus_app.command("check")
def corpus_check(path: CorpusArgument, columns: ColumnsOption = None, types: TypesOption = "") -> None:
    """Read every file, and list errors and unread files."""
    from xtremedistil_ner.commands.terminal import format_check, format_unread
    from xtremedistil_ner.corpus.check import check_corpus

    mapping = _read_types(types)
    check = check_corpus(path, types=mapping, **read_columns(columns))
    if check.problems:
        raise CorpusError("\n".join((*check.problems, *format_unread(check))))
    echo(format_check(check, path))
    _echo_mapping(mapping, check.stats)
    show_next(("corpus", "stats", path), _init_of(path))


@corpus_app.command("stats")
def corpus_stats(path: CorpusArgument, columns: ColumnsOption = None, types: TypesOption = "") -> None:
    """Count sentences, words and entities per split."""
    from xtremedistil_ner.commands.terminal import format_stats
    from xtremedistil_ner.corpus import check

    mapping = _read_types(types)
    stats = check.corpus_stats(path, types=mapping, **read_columns(columns))
    echo(format_stats(stats))
    _echo_mapping(mapping, stats)
    show_next(_init_of(path))


def _init_of(corpus: str) -> Command:
    return ("distil", "demo") if corpus == "demo" else ("init", "DIR", "--corpus", corpus)


def _read_types(text: str) -> dict[str, str | None]:
    """Parse a `--types` value; None stands for a type that is left out."""
    from xtremedistil_ner.labels import OUTSIDE  # numpy is heavy

    mapping: dict[str, str | None] = {}
    for part in filter(None, text.split(",")):
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not (old and equals) or old in mapping or new == OUTSIDE or "=" in new or any(map(str.isspace, old + new)):
            raise UsageError(f"--types {quoted(part)}: write OLD=NEW, or OLD= to leave a type out, each OLD once.")
        mapping[old] = new if new not in ("", "null") else None
    return mapping


def _echo_mapping(types: Mapping[str, str | None], stats: Sequence[SplitStats]) -> None:
    from xtremedistil_ner.corpus.labelled import format_mapping

    if types:
        echo(format_mapping(types, {old: sum(row.mapped.get(old, 0) for row in stats) for old in types}))


@tools_app.command()
def languages() -> None:
    """List the 41 languages of the papers."""
    from xtremedistil_ner.languages import WIKIANN_LANGUAGES, language_name

    for code in WIKIANN_LANGUAGES:
        echo(f"{code}  {language_name(code)}")
    show_next(("distil", "demo", "--langs", "en,de"))


@tools_app.command()
def doctor(
    out: Annotated[Path, typer.Option(help="Folder in which you want to write runs.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Check what this machine has and what it lacks.

    The exit code is 5 if something that is installed cannot work.
    """
    from xtremedistil_ner.commands.doctor import examine
    from xtremedistil_ner.commands.terminal import format_findings

    findings = examine(out, recipes=len(packaged_recipes()))
    echo([asdict(finding) for finding in findings] if as_json else format_findings(findings))
    problems = [finding.name for finding in findings if finding.state == "problem"]
    if problems:
        raise ResourceError(f"{', '.join(problems)}: see above for causes and remedies.")
    if not as_json:
        show_next(("distil", "demo"), ("init", "DIR", "--corpus", "PATH"))


for _part in (init_app, runs_app, service_app, bench_app, tools_app):
    app.add_typer(_part)  # without a name, so that its commands are top-level ones, in this order
app.add_typer(corpus_app, name="corpus")
