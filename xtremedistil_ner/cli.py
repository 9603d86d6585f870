"""The command line: the only module that prints results and ends the process.

Heavy imports stand inside the commands, because `--help` must not pay for torch. Results go to standard output,
progress and errors to standard error; `--json` prints one JSON value and no progress.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xtremedistil_ner.errors import CorpusError, Interrupted, UsageError, XnerError
from xtremedistil_ner.terminal import TerminalReporter, format_result, format_scores, format_stats, format_table

if TYPE_CHECKING:
    from types import FrameType

    from xtremedistil_ner.pipeline import PipelineResult
    from xtremedistil_ner.schema import Recipe
    from xtremedistil_ner.tagger import Entity

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Name (`xner recipes`), file, or run folder.")]
Langs = Annotated[str | None, typer.Option(help="`all` or codes such as `en,de`; without it the recipe decides.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="May be repeated.")]
Out = Annotated[Path | None, typer.Option(file_okay=False, help="Run folder. [default: runs/<recipe name>]")]
TakeFrom = Annotated[
    Path | None,
    typer.Option("--from", exists=True, file_okay=False, help="Run folder whose fitting artefacts are reused."),
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="Processes of each stage. [default: one per GPU; on CPU as the stage needs]")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StageName = Literal["finetune", "pseudolabel", "train", "evaluate", "export"]
CorpusPath = Annotated[str, typer.Argument(metavar="PATH", help="Corpus folder, or `demo`.")]

app = typer.Typer(
    help="Distil large multilingual entity taggers into small, fast ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Look at a corpus before a run.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(corpus_app, name="corpus")

STAGE_COMMANDS: dict[StageName, str] = {
    "finetune": "Fine-tune the teacher on the labelled corpora.",
    "pseudolabel": "Write the teacher's soft labels of the transfer set.",
    "train": "Train the student on the soft labels.",
    "export": "Export the student of a run folder for transformers and ONNX Runtime.",
}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the stages of a recipe run, as the command line said it."""

    only: StageName | None
    until: StageName | None
    take_from: Path | None
    processes: int | None
    dry_run: bool
    as_json: bool


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
def distil(
    recipe: RecipeName,
    langs: Langs = None,
    overrides: Overrides = None,
    out: Out = None,
    take_from: TakeFrom = None,
    only: Annotated[StageName | None, typer.Option(help="Do this stage alone.")] = None,
    until: Annotated[StageName | None, typer.Option(help="Stop after this stage.")] = None,
    processes: Processes = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Distil a teacher into a student: fine-tune, label, train, evaluate, export."""
    options = RunOptions(only, until, take_from, processes, dry_run, as_json)
    _run(*_read_recipe(recipe, langs, overrides, out), options)


def _stage_command(stage: StageName) -> Callable[..., None]:
    def command(
        recipe: RecipeName,
        langs: Langs = None,
        overrides: Overrides = None,
        out: Out = None,
        take_from: TakeFrom = None,
        processes: Processes = None,
        dry_run: DryRun = False,
        as_json: Json = False,
    ) -> None:
        options = RunOptions(stage, None, take_from, processes, dry_run, as_json)
        _run(*_read_recipe(recipe, langs, overrides, out), options)

    return command


for _stage, _help in STAGE_COMMANDS.items():
    app.command(_stage, help=_help)(_stage_command(_stage))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, a student or an export.")],
    corpus: Annotated[str, typer.Option(metavar="PATH", help="Corpus folder, or `demo`.")],
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    langs: Annotated[str, typer.Option(help="`all`, or codes such as `en,de`.")] = "all",
    as_json: Json = False,
) -> None:
    """Score a model per language: strict entity F1 of whole sentences."""
    codes = _languages(langs)
    from xtremedistil_ner.corpus.demo import demo_path
    from xtremedistil_ner.stages.evaluate import evaluate_model

    folder = demo_path() if corpus == "demo" else Path(corpus)
    with TerminalReporter(quiet=as_json) as report:
        scores = evaluate_model(model, corpus=folder, split=split, languages=codes, report=report)
    typer.echo(_format_json(scores) if as_json else format_scores(scores))


@app.command()
def tag(
    export: Annotated[Path, typer.Argument(help="Export folder.")],
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Text, one sentence a line.")] = None,
    output: Annotated[Literal["jsonl", "conll"], typer.Option("--format")] = "jsonl",
) -> None:
    """Tag lines of text from files (.gz .xz .bz2 .zst too) or from standard input."""
    from xtremedistil_ner.tagger import Tagger

    tagger = Tagger.from_pretrained(export)
    format_line = _format_jsonl if output == "jsonl" else _format_conll
    for_tagger, for_output = itertools.tee(_read_lines(files or []))
    for text, entities in zip(for_output, tagger.tag_stream(for_tagger), strict=True):
        sys.stdout.write(format_line(text, entities))


@corpus_app.command("check")
def corpus_check(path: CorpusPath) -> None:
    """Read every file of a corpus and list what is wrong with it."""
    from xtremedistil_ner.corpus.check import check_corpus

    check = check_corpus(path)
    if check.problems:
        raise CorpusError("\n".join(check.problems))
    languages = {stats.language for stats in check.stats}
    repaired = sum(stats.repaired_tags for stats in check.stats)
    skipped = sum(stats.skipped_lines for stats in check.stats)
    typer.echo(
        f"{path}: no problems. {len(languages)} languages, {len(check.stats)} labelled files, "
        f"{repaired} repaired tags, {skipped} skipped comment lines."
    )


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
def recipes() -> None:
    """List the recipes that come with the package."""
    rows = [("recipe", "what it is")]
    for name, path in _packaged_recipes().items():
        first_line = path.read_text(encoding="utf-8").partition("\n")[0]
        rows.append((name, first_line.lstrip("# ") if first_line.startswith("#") else ""))
    typer.echo(format_table(rows))


def _run(recipe: Recipe, out: Path, options: RunOptions) -> None:
    from xtremedistil_ner.pipeline import run_pipeline

    first = os.environ.get("RANK", "0") == "0"  # an outside launcher may have started several of this command
    with TerminalReporter(quiet=options.as_json or not first) as report:
        result = run_pipeline(
            recipe,
            out,
            only=options.only,
            until=options.until,
            take_from=options.take_from,
            processes=options.processes,
            dry_run=options.dry_run,
            report=report,
        )
    if first:
        typer.echo(_format_json(_result_values(result, out)) if options.as_json else format_result(result, out))


def _read_recipe(source: str, langs: str | None, overrides: list[str] | None, out: Path | None) -> tuple[Recipe, Path]:
    """The recipe of a name, a file or a run folder, and the run folder to use."""
    from xtremedistil_ner.recipe import load_recipe

    changes = list(overrides or [])
    if langs is not None:  # as JSON strings, which YAML reads as text whatever the code looks like
        changes.append(f"corpus.languages={json.dumps(_languages(langs))}")
    packaged = _packaged_recipes()
    if source not in packaged and Path(source, "recipe.yaml").is_file():
        return load_recipe(Path(source, "recipe.yaml"), overrides=changes), out or Path(source)
    recipe = load_recipe(packaged.get(source, Path(source)), overrides=changes)
    return recipe, out or Path("runs", recipe.name)


def _packaged_recipes() -> dict[str, Path]:
    """Files by recipe name; a recipe in a folder is named `folder/name`."""
    package = Path(__file__).parent
    installed = package / "_data" / "recipes"  # in a wheel; a checkout has them beside the package
    folder = installed if installed.is_dir() else package.parent / "recipes"
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).as_posix().removesuffix(".yaml"): file for file in files}


def _languages(langs: str) -> tuple[str, ...]:
    """Codes of a `--langs` value; none for `all`."""
    if langs.strip() == "all":
        return ()
    codes = tuple(code.strip() for code in langs.split(","))
    if not all(codes) or len(set(codes)) != len(codes):
        raise UsageError(f"--langs {langs!r}: an empty or repeated code. Write `all`, or codes such as `en,de`.")
    return codes


def _read_lines(files: Sequence[Path]) -> Iterator[str]:
    from xtremedistil_ner.corpus.streams import decode_line, open_text

    for file in files:
        yield from open_text(file)
    if not files:
        for number, raw in enumerate(sys.stdin.buffer, start=1):
            yield decode_line(raw, Path("<stdin>"), number)


def _format_jsonl(text: str, entities: Iterable[Entity]) -> str:
    value = {"text": text, "entities": [asdict(entity) for entity in entities]}
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _format_conll(text: str, entities: Iterable[Entity]) -> str:
    from xtremedistil_ner.corpus.words import split_words

    found = list(entities)
    lines = []
    for word, start, _ in split_words(text):
        entity = next((entity for entity in found if entity.start <= start < entity.end), None)
        tag = "O" if entity is None else f"{'B' if start == entity.start else 'I'}-{entity.type}"
        lines.append(f"{word}\t{tag}\n")
    return "".join(lines) + "\n"


def _result_values(result: PipelineResult, out: Path) -> dict[str, Any]:
    return {"out": str(out), "steps": [asdict(step) for step in result.steps], "report": result.report}


def _format_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
