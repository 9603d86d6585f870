"""The commands that make and inspect runs: `distil`, each stage alone, `report`, `compare`, `recipes`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from xtremedistil_ner.addresses import text_without_secrets, values_without_secrets
from xtremedistil_ner.commands.next_steps import show_next, show_next_of_run, uses_of
from xtremedistil_ner.commands.options import (
    DryRunOption,
    JsonOption,
    LanguagesOption,
    OutOption,
    OverridesOption,
    ProcessesOption,
    ProtocolOption,
    RebuildOption,
    RecipeName,
    TakeFromOption,
)
from xtremedistil_ner.errors import CheckFailed, UsageError, quoted
from xtremedistil_ner.names import LANGUAGE_RULE, is_language
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.stage_table import Stage
from xtremedistil_ner.run_folder.whole_files import write_text

if TYPE_CHECKING:
    from xtremedistil_ner.pipeline.run import PipelineResult
    from xtremedistil_ner.recipe.schema import Recipe

DEFAULT_RECIPE = "wikiann-mbert-35x"

runs_app = typer.Typer(rich_markup_mode=None)


@runs_app.command()
def distil(
    recipe: RecipeName = DEFAULT_RECIPE,
    langs: LanguagesOption = None,
    overrides: OverridesOption = None,
    out: OutOption = None,
    take_from: TakeFromOption = None,
    rebuild: RebuildOption = False,
    protocol: ProtocolOption = None,
    only: Annotated[Stage | None, typer.Option(help="Run this stage only.")] = None,
    until: Annotated[Stage | None, typer.Option(help="Stop after this stage.")] = None,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Distil a teacher into a student, from corpus to export.

    The stages are finetune, pseudolabel, train, evaluate and export. The same command resumes an interrupted run.
    """
    from xtremedistil_ner.commands.terminal import TerminalReporter, format_result
    from xtremedistil_ner.pipeline.run import run_pipeline

    if rebuild and take_from is None:
        raise UsageError("--rebuild is about --from, which is not given.")
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
            rebuild=rebuild,
            processes=processes,
            dry_run=dry_run,
            tell=tell,
        )
    if first:
        echo(_result_values(result, folder) if as_json else format_result(result, folder))
    if first and not as_json:
        show_next_of_run(result, folder, dry_run=dry_run)


def _add_stage_command(stage: Stage, sentence: str) -> None:
    """Add a command that is `distil --only STAGE`; it requires a recipe."""

    @runs_app.command(stage, help=sentence)
    def command(
        recipe: RecipeName,
        langs: LanguagesOption = None,
        overrides: OverridesOption = None,
        out: OutOption = None,
        take_from: TakeFromOption = None,
        rebuild: RebuildOption = False,
        processes: ProcessesOption = None,
        dry_run: DryRunOption = False,
        as_json: JsonOption = False,
    ) -> None:
        distil(
            recipe,
            langs,
            overrides,
            out,
            take_from,
            rebuild,
            only=stage,
            processes=processes,
            dry_run=dry_run,
            as_json=as_json,
        )


_add_stage_command("finetune", "Fine-tune the teacher on the labelled corpora.")
_add_stage_command("pseudolabel", "Label the transfer set with the teacher.")
_add_stage_command("train", "Train the student.")


@runs_app.command()
def export(
    recipe: RecipeName,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Formats: hf, onnx, onnx-int8, triton, web. [default: the recipe's; there hf,onnx,onnx-int8]",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--onnxruntime-web", metavar="DIR", help="Folder of npm's onnxruntime-web; required by the format web."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish the int8 graph even if it loses more than 0.3 F1 points on dev.")
    ] = False,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="ID", help="Upload the export to this Hub repository.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create the Hub repository as a private one.")] = False,
    langs: LanguagesOption = None,
    overrides: OverridesOption = None,
    out: OutOption = None,
    take_from: TakeFromOption = None,
    rebuild: RebuildOption = False,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export the student for transformers and ONNX Runtime."""
    changes = list(overrides or [])
    if formats is not None:
        from xtremedistil_ner.recipe.schema import ExportFormat

        names = [name.strip() for name in formats.split(",")]
        changes.append(f"export.formats={json.dumps(names)}")
        if unknown := [name for name in names if name not in get_args(ExportFormat)]:
            raise UsageError(f"--format {quoted(unknown[0])}: there are {', '.join(get_args(ExportFormat))}.")
        if force and "onnx-int8" not in names:
            raise UsageError("--force is about the format onnx-int8, which --format does not name.")
        if "onnx-int8" not in names:  # what the run's recipe says of a format does not matter without it
            changes.insert(0, "export.force_int8=false")
        if "web" not in names:
            changes.insert(0, "export.onnxruntime_web=null")
    if runtime is not None:
        changes.append(f"export.onnxruntime_web={runtime}")
    if force:
        changes.append("export.force_int8=true")
    if private and push_to_hub is None:
        raise UsageError("--private needs --push-to-hub, which names the repository.")
    distil(
        recipe,
        langs,
        changes,
        out,
        take_from,
        rebuild,
        only="export",
        processes=processes,
        dry_run=dry_run,
        as_json=as_json,
    )
    if push_to_hub is not None and not dry_run:
        from xtremedistil_ner.commands.terminal import TerminalReporter
        from xtremedistil_ner.export.upload import push_export

        _, folder = read_recipe(recipe, None, [], out)
        with TerminalReporter(quiet=as_json) as tell:
            push_export(RunFolder(folder).export, push_to_hub, private=private, tell=tell)


@runs_app.command("report")
def show_report(
    run: Annotated[Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="Folder of a finished run.")],
    check: Annotated[
        bool, typer.Option("--check", help="End with 6 unless the verdict is SHIP and no baseline was better.")
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="RUN", exists=True, help="The run that was shipped last, to compare recall, size, speed."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild and print the report of a run.

    report.md and report.html are written again from report.json and the run's benchmarks.
    """
    from xtremedistil_ner.report.baseline import baseline_table, compare_with_baseline
    from xtremedistil_ner.report.pages import write_pages
    from xtremedistil_ner.report.speed import read_records, read_speed
    from xtremedistil_ner.report.stored import read_report
    from xtremedistil_ner.report.verdict import format_whole, verdict_of

    report = read_report(run)
    verdict = verdict_of(report)
    report = {**report, "verdict": verdict}
    more, problems = read_speed(RunFolder(run)), []
    if verdict["whole"]["verdict"] != "ship":
        problems.append(format_whole(verdict))
    if baseline is not None:
        compared = compare_with_baseline(
            report,
            read_report(baseline),
            speed=read_records(RunFolder(run)),
            baseline_speed=read_records(RunFolder(baseline)),
        )
        more.append(baseline_table(compared))
        problems += [f"{problem}." for problem in compared["worse"]]
        report["baseline"] = compared
    text = write_pages(RunFolder(run), report, more)
    echo(report if as_json else text)
    if not as_json:
        show_next(("compare", run, "OTHER_RUN"), *uses_of(RunFolder(run).export), look_at=RunFolder(run).report_html)
    if check and problems:
        raise CheckFailed("\n".join((f"{run}: the check failed.", *problems)))


@runs_app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", exists=True, help="Run folders or report.json files, at least two."),
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Also write a page like report.html.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs: scores, retention, size, time, significance.

    Runs whose recipes differ only in `train.seed`, `seed` or `name` count as one student: they are shown as mean and
    standard deviation. The test of a difference then resamples seeds as well as sentences.
    """
    from xtremedistil_ner.commands.terminal import format_tables
    from xtremedistil_ner.report.compare import compare_runs, open_runs
    from xtremedistil_ner.report.compare_tables import comparison_tables

    if html is not None and html.suffix != ".html":  # a run that slipped behind the option must not be overwritten
        raise UsageError(f"--html {html}: give a file name that ends in .html.")
    compared = compare_runs(open_runs(runs))
    if html is not None:
        from xtremedistil_ner.report.compare_page import format_comparison  # jinja is not needed for the text

        write_text(html, format_comparison(compared))
    echo(compared if as_json else format_tables(comparison_tables(compared)))
    if not as_json:
        show_next(("report", "RUN"), look_at=html)


@runs_app.command()
def recipes() -> None:
    """List the recipes that come with the package."""
    from xtremedistil_ner.commands.terminal import format_table

    rows = [("recipe", "what it is")]
    for name, path in packaged_recipes().items():
        first_line = path.read_text(encoding="utf-8").partition("\n")[0]
        rows.append((name, first_line.lstrip("# ") if first_line.startswith("#") else ""))
    echo(format_table(rows))
    show_next(("distil", "RECIPE", "--dry-run"), ("init", "DIR", "--corpus", "PATH"))


def read_recipe(source: str, langs: str | None, overrides: list[str] | None, out: Path | None) -> tuple[Recipe, Path]:
    """Read a recipe by its name, from a file or from a run folder; return it with the run folder to use."""
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
    """Recipe files by name; a recipe in a subfolder is called `folder/name`."""
    package = Path(__file__).parents[1]
    installed = package / "_data" / "recipes"  # in a wheel; a checkout has them beside the package
    folder = installed if installed.is_dir() else package.parent / "recipes"
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).as_posix().removesuffix(".yaml"): file for file in files}


def read_languages(langs: str) -> tuple[str, ...]:
    """Language codes of a `--langs` value; empty for `all`."""
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
    """Print a result: text unchanged, anything else as JSON. Passwords and tokens are cut out of URLs."""
    if isinstance(result, str):
        typer.echo(text_without_secrets(result))
    else:
        typer.echo(json.dumps(values_without_secrets(result), ensure_ascii=False, allow_nan=False, indent=2))


def _result_values(result: PipelineResult, out: Path) -> dict[str, Any]:
    return {"out": str(out), "steps": [asdict(step) for step in result.steps], "report": result.report}
