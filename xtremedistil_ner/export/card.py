"""The model card of an export: what the model is, how well it tags, what int8 costs it, and how to load it.

The front matter is the Hub's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.export.card_use import format_limits, format_use
from xtremedistil_ner.export.int8_verdict import MAX_MACRO_DROP, Int8Verdict
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.languages import language_name
from xtremedistil_ner.models.kinds import StudentShape, kind_of
from xtremedistil_ner.names import escape_markdown
from xtremedistil_ner.report.caveats import about_weak_student
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES

_SYNTHETIC = """
> **Synthetic scores.** This model was trained and scored on generated text. Its scores say that the pipeline works,
> and nothing about real text.
"""


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

    Without a report it has no scores and no languages.
    """
    kind = kind_of(shape)
    library = "xtremedistil-ner" if kind.is_own else "transformers"
    front_matter = _front_matter(report, licence=licence, recipe_name=recipe_name, library=library)
    text = f"---\n{front_matter}\n---\n\n# {escape_markdown(recipe_name)}\n\n"
    types = escape_markdown(", ".join(scheme.types))
    text += (
        f"A small tagger for named entities ({types}), distilled from a transformer with `xner`, "
        f"recipe {escape_markdown(recipe_name)}. {kind.sentence.format(shape=shape)}\n"
    )
    if report is not None:
        weak = about_weak_student(report["models"])
        text += (_SYNTHETIC if report.get("synthetic") else "") + (f"\n> **{weak}**\n" if weak else "")
        text += _format_scores(report)
    if verdict is not None:
        text += _format_verdict(verdict)
    return (
        text + format_limits(max_pieces) + format_use(files, is_own=kind.is_own, max_pieces=max_pieces, has_crf=has_crf)
    )


def _front_matter(report: Mapping[str, Any] | None, *, licence: str, recipe_name: str, library: str) -> str:
    languages: Mapping[str, Any] = {}
    results = []
    if report is not None:
        student = report["models"]["student"]
        languages = student["languages"]
        where = {"corpus": _corpus_name(report), "split": _split(report)}
        results = [_result("macro F1", student["macro_f1"], language=None, **where)]
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
    """A corpus's id on the Hub, or the last part of its path: the rest of it is nobody's business."""
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


def _format_scores(report: Mapping[str, Any]) -> str:
    student = report["models"]["student"]
    teacher = report["models"].get("teacher", {})
    kept = report.get("retention", {})
    text = (
        f"\n## Scores\n\nF1 of whole entities on the {escape_markdown(_split(report))} split, IOB2, strict, in "
        "percent; 95 % bootstrap intervals.\n\n"
    )
    text += "| language | teacher | student | interval | retention |\n|---|---:|---:|---:|---:|\n"
    for code, scores in student["languages"].items():
        if not scores["support"]:
            continue
        text += (
            f"| {_named(code)} | {_percent(teacher.get('languages', {}).get(code, {}).get('f1'))} "
            f"| {_percent(scores['f1'])} | {_percent(scores.get('f1_low'))} to {_percent(scores.get('f1_high'))} "
            f"| {_percent(kept.get('languages', {}).get(code))} |\n"
        )
    text += (
        f"| **mean** | {_percent(teacher.get('macro_f1'))} | **{_percent(student['macro_f1'])}** | "
        f"| {_percent(kept.get('macro'))} |\n"
    )
    if without := [code for code, scores in student["languages"].items() if not scores["support"]]:
        text += f"\nWithout an entity to find in that split: {', '.join(map(escape_markdown, without))}.\n"
    if student.get("parameters") and report.get("compression"):
        text += (
            f"\nThe student has {student['parameters']:,} parameters, the teacher {report['compression']:.1f} times as "
            "many. Retention is the student's F1 over the teacher's.\n"
        )
    return text


def _format_verdict(verdict: Int8Verdict) -> str:
    text = f"\n## int8\n\n{_format_decision(verdict)}\n"
    if not verdict.float32:
        return text
    text += "\nStrict F1 on the dev split, in percent, as the tagger tags it.\n"
    text += "\n| language | float32 | int8 | change |\n|---|---:|---:|---:|\n"
    for code, before in verdict.float32.items():
        after = verdict.int8[code]
        scores = f"{_percent(before)} | {_percent(after)} | {format_points(after - before)}"
        text += f"| {_named(code)} | {scores} |\n"
    text += f"| **mean** | | | {format_points(-(verdict.macro_drop or 0.0))} |\n"
    dropping = ", ".join(map(_named, verdict.dropping))
    return text + (f"\n**These languages lose more than one point: {dropping}.**\n" if dropping else "")


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


def _named(code: str) -> str:
    return escape_markdown(f"{language_name(code)} ({code})")


def format_points(change: float) -> str:
    """A change of a score between 0 and 1, in points of a hundred with its sign."""
    return f"{round(100 * change, 2) + 0.0:+.2f}"  # never -0.00


def _percent(share: object) -> str:
    return f"{100 * share:.2f}" if isinstance(share, int | float) else "–"
