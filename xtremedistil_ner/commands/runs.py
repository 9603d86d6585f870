"""The commands that make runs and look at them: `distil`, its stages by themselves, `report`, `compare`, `recipes`."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xtremedistil_ner.addresses import text_without_secrets, values_without_secrets
from xtremedistil_ner.commands.terminal import TerminalReporter, format_comparison, format_result, format_table
from xtremedistil_ner.errors import UsageError, quoted
from xtremedistil_ner.names import LANGUAGE_RULE, is_language
from xtremedistil_ner.run_folder.files import RunFolder, write_text

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
StageName = Literal["finetune", "pseudolabel", "train", "evaluate", "export"]

runs_app = typer.Typer(rich_markup_mode=None)

STAGE_COMMANDS: dict[StageName, str] = {
    "finetune": "Fine-tune the teacher on the labelled corpora.",
    "pseudolabel": "Write the teacher's soft labels of the transfer set.",
    "train": "Train the student on the soft labels.",
    "export": "Export the student of a run folder for transformers and ONNX Runtime.",
}


@runs_app.command()
def distil(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name (`xner recipes`), file, or run folder.")
    ] = DEFAULT_RECIPE,
    langs: Langs = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="May be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Run folder. [default: runs/<recipe name>]")] = None,
    take_from: Annotated[
        Path | None,
        typer.Option("--from", exists=True, file_okay=False, help="Run folder whose fitting artefacts are reused."),
    ] = None,
    protocol: ProtocolOption = None,
    only: Annotated[StageName | None, typer.Option(help="Do this stage alone.")] = None,
    until: Annotated[StageName | None, typer.Option(help="Stop after this stage.")] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of each stage. [default: one per GPU; on CPU as the stage needs]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Distil a teacher into a student: fine-tune, label, train, evaluate, export."""
    from xtremedistil_ner.pipeline.run import run_pipeline

    changes = list(overrides or [])
    if protocol is not None:
        changes.append(f"evaluate.protocol={protocol}")
    read, folder = read_recipe(recipe, langs, changes, out)
    first = os.environ.get("RANK", "0") == "0"  # an outside launcher may have started several of this command
    with TerminalReporter(quiet=as_json or not first) as report:
        result = run_pipeline(
            read,
            folder,
            only=only,
            until=until,
            take_from=take_from,
            processes=processes,
            dry_run=dry_run,
            report=report,
        )
    if first:
        echo(_result_values(result, folder) if as_json else format_result(result, folder))


def _stage_command(stage: StageName) -> Callable[..., None]:
    """`distil` with `only` fixed, and the other options that a single stage has; its recipe must be named."""

    def command(**options: Any) -> None:  # noqa: ANN401 - those of `distil`
        distil(only=stage, **options)

    return _with_signature(command, _stage_parameters())


def _export_command() -> Callable[..., None]:
    """The stage `export` with its recipe fields as options, and with the upload."""

    def own(
        formats: Annotated[
            str | None,
            typer.Option(
                "--format", help="Some of hf,onnx,onnx-int8,triton,web. [default: the recipe's, the first three]"
            ),
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
    ) -> None: ...

    def command(
        *,
        formats: str | None,
        runtime: str | None,
        force: bool,
        push_to_hub: str | None,
        private: bool,
        **options: Any,  # noqa: ANN401
    ) -> None:
        changes = list(options.pop("overrides") or [])
        if formats is not None:
            changes.append(f"export.formats={json.dumps([name.strip() for name in formats.split(',')])}")
        if runtime is not None:
            changes.append(f"export.onnxruntime_web={runtime}")
        if force:
            changes.append("export.force_int8=true")
        if private and push_to_hub is None:
            raise UsageError("--private: of a repository that --push-to-hub names.")
        distil(only="export", overrides=changes, **options)
        if push_to_hub is not None and not options["dry_run"]:
            from xtremedistil_ner.export.upload import push_export

            _, folder = read_recipe(options["recipe"], None, [], options["out"])
            with TerminalReporter(quiet=options["as_json"]) as report:
                push_export(RunFolder(folder).export, push_to_hub, private=private, report=report)

    parameters = _stage_parameters()
    return _with_signature(command, [parameters[0], *_signature_of(own), *parameters[1:]])


def _stage_parameters() -> list[inspect.Parameter]:
    return [
        parameter.replace(default=inspect.Parameter.empty) if parameter.name == "recipe" else parameter
        for parameter in _signature_of(distil)
        if parameter.name not in ("only", "until", "protocol")
    ]


def _signature_of(function: Callable[..., None]) -> list[inspect.Parameter]:
    """The parameters of a command with their types as values, as typer reads them."""
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _with_signature(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


for _stage, _help in STAGE_COMMANDS.items():
    runs_app.command(_stage, help=_help)(_export_command() if _stage == "export" else _stage_command(_stage))


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
    """Set two or more runs side by side: scores, what was kept, size, time, and whether students differ."""
    from xtremedistil_ner.report.compare import compare_runs, comparison_tables, open_runs

    compared = compare_runs(open_runs(runs))
    echo(compared if as_json else format_comparison(comparison_tables(compared)))


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
