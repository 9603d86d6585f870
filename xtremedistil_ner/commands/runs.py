"""The commands that make runs and look at them: `distil`, its stages by themselves, `report`, `compare`, `recipes`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xtremedistil_ner.addresses import text_without_secrets, values_without_secrets
from xtremedistil_ner.commands.terminal import TerminalReporter, format_result, format_table, format_tables
from xtremedistil_ner.errors import UsageError, quoted
from xtremedistil_ner.names import LANGUAGE_RULE, is_language
from xtremedistil_ner.run_folder.files import RunFolder, write_text
from xtremedistil_ner.run_folder.stage_table import Stage

if TYPE_CHECKING:
    from xtremedistil_ner.pipeline.run import PipelineResult
    from xtremedistil_ner.recipe.schema import Recipe

DEFAULT_RECIPE = "wikiann-mbert-35x"

Langs = Annotated[str | None, typer.Option(help="`all` or codes such as `en,de`; without it the recipe decides.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Protocol = Literal["strict", "paper"]
ProtocolOption = Annotated[
    Protocol | None, typer.Option(help="`paper`: the papers' way of scoring beside the strict one.")
]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Name (`xner recipes`), file, or run folder.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="May be repeated.")]
Out = Annotated[Path | None, typer.Option(file_okay=False, help="Run folder. [default: runs/<recipe name>]")]
TakeFrom = Annotated[
    Path | None,
    typer.Option("--from", exists=True, file_okay=False, help="Run folder whose fitting artefacts are reused."),
]
ProcessCount = Annotated[
    int | None,
    typer.Option(min=1, help="Processes of each stage. [default: one per GPU; on CPU as the stage needs]"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")]

runs_app = typer.Typer(rich_markup_mode=None)


@runs_app.command()
def distil(
    recipe: RecipeName = DEFAULT_RECIPE,
    langs: Langs = None,
    overrides: Overrides = None,
    out: Out = None,
    take_from: TakeFrom = None,
    protocol: ProtocolOption = None,
    only: Annotated[Stage | None, typer.Option(help="Do this stage alone.")] = None,
    until: Annotated[Stage | None, typer.Option(help="Stop after this stage.")] = None,
    processes: ProcessCount = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Distil a teacher into a student: fine-tune, label, train, evaluate, export."""
    from xtremedistil_ner.pipeline.run import run_pipeline

    changes = list(overrides or [])
    if protocol is not None:
        changes.append(f"evaluate.protocol={protocol}")
    read, folder = read_recipe(recipe, langs, changes, out)
    first = os.environ.get("RANK", "0") == "0"  # an outside launcher may have started several of this command
    with TerminalReporter(quiet=as_json or not first) as tell:
        result = run_pipeline(
            read,
            folder,
            only=only,
            until=until,
            take_from=take_from,
            processes=processes,
            dry_run=dry_run,
            tell=tell,
        )
    if first:
        echo(_result_values(result, folder) if as_json else format_result(result, folder))


def _add_stage_command(stage: Stage, sentence: str) -> None:
    """`distil` with `only` fixed, and the other options that a single stage has; its recipe must be named."""

    @runs_app.command(stage, help=sentence)
    def command(
        recipe: RecipeName,
        langs: Langs = None,
        overrides: Overrides = None,
        out: Out = None,
        take_from: TakeFrom = None,
        processes: ProcessCount = None,
        dry_run: DryRun = False,
        as_json: Json = False,
    ) -> None:
        distil(
            recipe,
            langs,
            overrides,
            out,
            take_from,
            only=stage,
            processes=processes,
            dry_run=dry_run,
            as_json=as_json,
        )


_add_stage_command("finetune", "Fine-tune the teacher on the labelled corpora.")
_add_stage_command("pseudolabel", "Write the teacher's soft labels of the transfer set.")
_add_stage_command("train", "Train the student on the soft labels.")


@runs_app.command()
def export(
    recipe: RecipeName,
    formats: Annotated[
        str | None,
        typer.Option("--format", help="Some of hf,onnx,onnx-int8,triton,web. [default: the recipe's, the first three]"),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option("--onnxruntime-web", metavar="DIR", help="Folder of that npm package, for web."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Publish the int8 graph whatever it costs.")] = False,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="ID", help="Upload it to this repository of the Hub.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that repository a private one.")] = False,
    langs: Langs = None,
    overrides: Overrides = None,
    out: Out = None,
    take_from: TakeFrom = None,
    processes: ProcessCount = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Export the student of a run folder for transformers and ONNX Runtime."""
    changes = list(overrides or [])
    if formats is not None:
        changes.append(f"export.formats={json.dumps([name.strip() for name in formats.split(',')])}")
    if runtime is not None:
        changes.append(f"export.onnxruntime_web={runtime}")
    if force:
        changes.append("export.force_int8=true")
    if private and push_to_hub is None:
        raise UsageError("--private: of a repository that --push-to-hub names.")
    distil(
        recipe,
        langs,
        changes,
        out,
        take_from,
        only="export",
        processes=processes,
        dry_run=dry_run,
        as_json=as_json,
    )
    if push_to_hub is not None and not dry_run:
        from xtremedistil_ner.export.upload import push_export

        _, folder = read_recipe(recipe, None, [], out)
        with TerminalReporter(quiet=as_json) as tell:
            push_export(RunFolder(folder).export, push_to_hub, private=private, tell=tell)


@runs_app.command("report")
def show_report(
    run: Annotated[Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="Folder of a finished run.")],
    as_json: Json = False,
) -> None:
    """Write a run's report.md and report.html again from its report.json and benchmarks, and print it."""
    from xtremedistil_ner.report.html import format_page
    from xtremedistil_ner.report.markdown import format_report
    from xtremedistil_ner.report.speed import read_speed
    from xtremedistil_ner.report.stored import read_report

    report = read_report(run)
    speed = read_speed(RunFolder(run))
    text = format_report(report, speed)
    write_text(RunFolder(run).report_markdown, text)
    write_text(RunFolder(run).report_html, format_page(report, speed))
    echo(report if as_json else text)


@runs_app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", exists=True, help="Run folders, or report.json files.")
    ],
    as_json: Json = False,
) -> None:
    """Set two or more runs side by side: scores, retention, size, time, and whether students differ."""
    from xtremedistil_ner.report.compare import compare_runs, comparison_tables, open_runs

    compared = compare_runs(open_runs(runs))
    echo(compared if as_json else format_tables(comparison_tables(compared)))


@runs_app.command()
def recipes() -> None:
    """List the recipes that come with the package."""
    rows = [("recipe", "what it is")]
    for name, path in packaged_recipes().items():
        first_line = path.read_text(encoding="utf-8").partition("\n")[0]
        rows.append((name, first_line.lstrip("# ") if first_line.startswith("#") else ""))
    echo(format_table(rows))


def read_recipe(source: str, langs: str | None, overrides: list[str] | None, out: Path | None) -> tuple[Recipe, Path]:
    """The recipe of a name, a file or a run folder, and the run folder to use."""
    from xtremedistil_ner.recipe.reader import load_recipe

    changes = list(overrides or [])
    if langs is not None:  # as JSON strings, which YAML reads as text whatever the code looks like
        changes.append(f"corpus.languages={json.dumps(read_languages(langs))}")
    packaged = packaged_recipes()
    if source not in packaged and Path(source, "recipe.yaml").is_file():
        return load_recipe(Path(source, "recipe.yaml"), overrides=changes), out or Path(source)
    recipe = load_recipe(packaged.get(source, Path(source)), overrides=changes)
    return recipe, out or Path("runs", recipe.name)


def packaged_recipes() -> dict[str, Path]:
    """Files by recipe name; a recipe in a folder is named `folder/name`."""
    package = Path(__file__).parents[1]
    installed = package / "_data" / "recipes"  # in a wheel; a checkout has them beside the package
    folder = installed if installed.is_dir() else package.parent / "recipes"
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).as_posix().removesuffix(".yaml"): file for file in files}


def read_languages(langs: str) -> tuple[str, ...]:
    """Codes of a `--langs` value; none for `all`."""
    if langs.strip() == "all":
        return ()
    codes = tuple(code.strip() for code in langs.split(","))
    for code in filter(None, codes):
        if not is_language(code):
            raise UsageError(f"--langs: {quoted(code)}. {LANGUAGE_RULE}.")
    if not all(codes) or len(set(codes)) != len(codes):
        raise UsageError(f"--langs {langs!r}: an empty or repeated code. Write `all`, or codes such as `en,de`.")
    return codes


def echo(result: str | Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result, a text as it stands and anything else as JSON; addresses lose their secrets."""
    if isinstance(result, str):
        typer.echo(text_without_secrets(result))
    else:
        typer.echo(json.dumps(values_without_secrets(result), ensure_ascii=False, allow_nan=False, indent=2))


def _result_values(result: PipelineResult, out: Path) -> dict[str, Any]:
    return {"out": str(out), "steps": [asdict(step) for step in result.steps], "report": result.report}
