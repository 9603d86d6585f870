"""The model card of an export: what the model is, how well it tags, what int8 costs it, and how to load it.

The front matter is the Hub's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.export.int8_verdict import MAX_MACRO_DROP, Int8Verdict
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.kinds import StudentShape, kind_of
from xtremedistil_ner.models.student import WEIGHTS_FILE
from xtremedistil_ner.names import escape_markdown
from xtremedistil_ner.report.caveats import about_weak_student
from xtremedistil_ner.report.cells import Table, named, percent
from xtremedistil_ner.report.markdown import format_table
from xtremedistil_ner.report.model_tables import models_table
from xtremedistil_ner.report.verdict import format_rule, format_whole
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES

_TEMPLATE = "card.md.jinja"


def format_card(
    shape: StudentShape,
    scheme: LabelScheme,
    *,
    files: Collection[str],
    max_pieces: int,
    has_crf: bool = False,
    report: Mapping[str, Any] | None,
    verdict: Int8Verdict | None = None,
    licence: str,
    recipe_name: str,
) -> str:
    """The text of the folder's `README.md`, whose other files are `files`.

    Without a report it has no scores and no languages. The snippets run unchanged inside the folder.
    """
    kind = kind_of(shape)
    for_transformers = not kind.is_own
    library = "transformers" if for_transformers else "xtremedistil-ner"
    models = report["models"] if report else {}
    judged = report.get("verdict") if report else None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # it is Markdown; what comes from outside goes through `escaped`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"escaped": escape_markdown, "table": format_table}
    return environment.get_template(_TEMPLATE).render(
        front_matter=_front_matter(report, licence=licence, recipe_name=recipe_name, library=library),
        recipe_name=recipe_name,
        types=scheme.types,
        shape_text=kind.sentence.format(shape=shape),
        report=report,
        weak=about_weak_student(models) if report else "",
        verdict=format_whole(judged) if judged else "",
        rule=format_rule(judged["rule"]) if judged else "",
        split=_split(report) if report else "",
        scores=models_table(report, ("teacher", "student")) if report else None,
        decision=_format_decision(verdict) if verdict else "",
        int8=_int8_table(verdict) if verdict and verdict.float32 else None,
        dropping=[named(code) for code in verdict.dropping] if verdict else [],
        max_pieces=max_pieces,
        has_crf=has_crf,
        for_transformers=for_transformers,
        graph=next((file for file in GRAPH_FILES.values() if file in files), None),
        has_weights=WEIGHTS_FILE in files,
    )


def _front_matter(report: Mapping[str, Any] | None, *, licence: str, recipe_name: str, library: str) -> str:
    languages: Mapping[str, Any] = {}
    results = []
    if report is not None:
        student = report["models"]["student"]
        languages = student["languages"]
        where = {"corpus": _corpus_name(report), "split": _split(report)}
        if student["macro_f1"] is not None:
            results.append(_result("macro F1", student["macro_f1"], language=None, **where))
        results += [
            _result(f"F1 ({code})", scores["f1"], language=code, **where)
            for code, scores in languages.items()
            if scores["support"]
        ]
    data = ModelCardData(
        language=list(languages) or None,
        license=licence,
        library_name=library,
        pipeline_tag="token-classification",
        tags=["named-entity-recognition", "knowledge-distillation", "onnx"],
        model_name=recipe_name,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _result(metric: str, value: float, *, language: str | None, corpus: str, split: str) -> EvalResult:
    return EvalResult(
        task_type="token-classification",
        dataset_type=corpus,
        dataset_name=corpus,
        dataset_config=language,
        dataset_split=split,
        metric_type="f1",
        metric_name=metric,
        metric_value=round(value, 6),
    )


def _corpus_name(report: Mapping[str, Any]) -> str:
    """A corpus's id on the Hub, or the last part of its path: the rest of it stays private."""
    try:
        corpus = report["run"]["recipe"]["corpus"]
        return (
            str(corpus["hub"]["id"]) if corpus.get("hub") else PurePath(without_secrets(corpus["path"] or "demo")).name
        )
    except (KeyError, TypeError):  # a report without its recipe
        return "unnamed"


def _split(report: Mapping[str, Any]) -> str:
    """The split that the report's scores are of."""
    return str(report.get("run", {}).get("split", "test"))


def _format_decision(verdict: Int8Verdict) -> str:
    limit = f"{100 * MAX_MACRO_DROP:.1f}"
    if verdict.is_good:
        return f"`{GRAPH_FILES['int8']}` loses no more than {limit} points of macro-F1 on dev."
    if verdict.macro_drop is None:
        reason = "There is no entity in a dev split to judge the int8 graph by"
    else:
        reason = f"The int8 graph loses {100 * verdict.macro_drop:.2f} points of macro-F1 on dev, more than {limit}"
    if verdict.is_published:
        return f"**{reason}. It was published all the same (`--force`).**"
    return f"{reason}; it was not published."


def _int8_table(verdict: Int8Verdict) -> Table:
    """F1 of both graphs on dev, and the change in points."""
    rows = [
        (named(code), percent(before), percent(verdict.int8[code]), format_points(verdict.int8[code] - before))
        for code, before in verdict.float32.items()
    ]
    mean = ("mean", "", "", format_points(-(verdict.macro_drop or 0.0)))
    return Table("", ("language", "float32", "int8", "change"), (*rows, mean))


def format_points(change: float) -> str:
    """A change of a score between 0 and 1, in points of a hundred with its sign."""
    return f"{round(100 * change, 2) + 0.0:+.2f}"  # never -0.00
