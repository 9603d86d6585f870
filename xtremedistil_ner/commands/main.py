"""The command line: this room alone prints results, `processes/process_end.py` ends the process.

Heavy imports stand inside the commands, because `--help` must not pay for torch. Results go to standard output,
progress and errors to standard error; `--json` prints one JSON value and no progress.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xtremedistil_ner.commands.bench import bench_app
from xtremedistil_ner.commands.runs import (
    Json,
    Protocol,
    echo,
    packaged_recipes,
    read_languages,
    runs_app,
)
from xtremedistil_ner.commands.service import Columns, GraphOption, read_columns, service_app
from xtremedistil_ner.commands.terminal import (
    TerminalReporter,
    format_check,
    format_findings,
    format_stats,
    format_tables,
    format_unread,
)
from xtremedistil_ner.errors import CorpusError, ResourceError, UsageError, quoted
from xtremedistil_ner.labels import OUTSIDE
from xtremedistil_ner.processes.process_end import open_streams, require_unicode

if TYPE_CHECKING:
    from xtremedistil_ner.corpus.check import SplitStats


def _named(path: str) -> str:
    if not path:
        raise UsageError("The path of the corpus is empty. Give a folder, a URL, or `demo`.")
    return path


CorpusPath = Annotated[str, typer.Argument(metavar="PATH", help="Corpus folder or URL, or `demo`.", callback=_named)]
TypesOption = Annotated[
    str, typer.Option(metavar="OLD=NEW,OLD=…", help="New names of entity types; `OLD=` leaves a type out.")
]

app = typer.Typer(
    help="Distil large multilingual entity taggers into small, fast ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Look at a corpus before a run.", no_args_is_help=True, rich_markup_mode=None)
tools_app = typer.Typer(rich_markup_mode=None)


def run() -> None:
    """Run the command that the process was started with."""
    open_streams()
    require_unicode(sys.argv)
    app(prog_name="xner")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from xtremedistil_ner import __version__

        echo(__version__)
        raise typer.Exit


@tools_app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, a student or an export.")],
    corpus: Annotated[str, typer.Option(metavar="PATH", help="Corpus folder or URL, or `demo`.", callback=_named)],
    split: Annotated[Literal["train", "dev", "test"], typer.Option(help="Split to score.")] = "test",
    langs: Annotated[str, typer.Option(help="`all`, or codes such as `en,de`.")] = "all",
    columns: Columns = None,
    protocol: Annotated[Protocol, typer.Option(help="`paper`: the papers' way of scoring beside it.")] = "strict",
    types: TypesOption = "",
    precision: GraphOption = None,
    as_json: Json = False,
) -> None:
    """Score a model per language: strict entity F1 of whole sentences."""
    codes, options, mapping = read_languages(langs), read_columns(columns), _read_types(types)
    from xtremedistil_ner.report.tables import model_tables
    from xtremedistil_ner.stages.evaluate import evaluate_model

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


@corpus_app.command("check")
def corpus_check(path: CorpusPath, columns: Columns = None, types: TypesOption = "") -> None:
    """Read every file of a corpus, and list what is wrong with it and what no run would read."""
    from xtremedistil_ner.corpus.check import check_corpus

    mapping = _read_types(types)
    check = check_corpus(path, types=mapping, **read_columns(columns))
    if check.problems:
        raise CorpusError("\n".join((*check.problems, *format_unread(check))))
    echo(format_check(check, path))
    _echo_mapping(mapping, check.stats)


@corpus_app.command("stats")
def corpus_stats(path: CorpusPath, columns: Columns = None, types: TypesOption = "") -> None:
    """Count sentences, words and entities per language and split."""
    from xtremedistil_ner.corpus import check

    mapping = _read_types(types)
    stats = check.corpus_stats(path, types=mapping, **read_columns(columns))
    echo(format_stats(stats))
    _echo_mapping(mapping, stats)


def _read_types(text: str) -> dict[str, str | None]:
    """The mapping of a `--types` value."""
    mapping: dict[str, str | None] = {}
    for part in filter(None, text.split(",")):
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not (old and equals) or old in mapping or new == OUTSIDE or any(map(str.isspace, old + new)):
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


@tools_app.command()
def doctor(
    out: Annotated[Path, typer.Option(help="Where runs are to be written.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Look at what this machine has and lacks; ends with 5 where something that is installed cannot work."""
    from xtremedistil_ner.commands.doctor import examine

    findings = examine(out, recipes=len(packaged_recipes()))
    echo([asdict(finding) for finding in findings] if as_json else format_findings(findings))
    problems = [finding.name for finding in findings if finding.state == "problem"]
    if problems:
        raise ResourceError(f"{', '.join(problems)}: see above for what is wrong and what to do.")


for _part in (runs_app, service_app, bench_app, tools_app):
    app.add_typer(_part)  # without a name, so that its commands stand at the top, in this order
app.add_typer(corpus_app, name="corpus")
