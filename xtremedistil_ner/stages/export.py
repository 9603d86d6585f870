"""Stage `export`: student + report → the folder that a tagging service loads; one per language for such students."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.export.card import format_points
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.export.int8_verdict import Int8Verdict, judge_int8
from xtremedistil_ner.export.speed_probe import measure_speed
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.report.speed import PROBE
from xtremedistil_ner.report.stored import read_report
from xtremedistil_ner.report.verdict import verdict_of
from xtremedistil_ner.run_folder.artefacts import publish, verify
from xtremedistil_ner.run_folder.files import RunFolder, student_folders
from xtremedistil_ner.run_folder.whole_files import write_json

STAGE = "export"


def export_student(recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter) -> None:
    """Make `run.export`; students per language go to `<language>/` in it, each a whole export.

    Raises: ArtefactError for a student or a report that changed since it was made.
    """
    verify(run.student)
    scores = read_report(run.path)
    corpus, runtime = open_corpus(recipe.corpus), recipe.export.onnxruntime_web
    with publish(run.export, {"fingerprint": fingerprint}) as folder:
        for language, student in student_folders(run.student).items():
            (folder / language).mkdir(exist_ok=True)
            languages = (language,) if language else corpus.languages
            tell(Event(STAGE, f"writes the graphs{f' of {language}' if language else ''}"))
            verdict = write_export(
                student,
                folder / language,
                formats=recipe.export.formats,
                judge=partial(
                    judge_int8, corpus=corpus, languages=languages, forced=recipe.export.force_int8, tell=tell
                ),
                onnxruntime_web=Path(runtime) if runtime else None,
                report=_of_language(scores, language) if language else scores,
                licence=recipe.export.licence,
                recipe_name=recipe.name,
                fingerprint=fingerprint,
            )
            if verdict is not None:
                tell(_verdict_event(verdict, language))
    tell(Event(STAGE, f"wrote {run.export}; measures its speed"))
    _probe_speed(run, fingerprint, corpus)


def _probe_speed(run: RunFolder, fingerprint: str, corpus: LabelledCorpus) -> None:
    """Measure the export for some seconds; of students per language, the first."""
    language, folder = next(iter(student_folders(run.export).items()))
    record = measure_speed(folder, fingerprint, corpus, (language,) if language else corpus.languages)
    if record is not None:
        run.bench.mkdir(exist_ok=True)
        write_json(run.bench / f"{PROBE}.json", record)


def _verdict_event(verdict: Int8Verdict, language: str) -> Event:
    of = f" of {language}" if language else ""
    if verdict.macro_drop is None:
        return Event(STAGE, f"int8 graph{of}: no dev entity to judge it by{_consequence(verdict)}")
    change = f"dev macro-F1 {format_points(-verdict.macro_drop)} points"
    return Event(STAGE, f"int8 graph{of}: {change}{_consequence(verdict)}")


def _consequence(verdict: Int8Verdict) -> str:
    if verdict.is_good:
        return ""
    return "; published by force" if verdict.is_published else "; not published (`--force` does)"


def _of_language(report: Mapping[str, Any], language: str) -> dict[str, Any] | None:
    """The part of a report for the card of one language's student: no other language, no mean, no total size."""
    models = {}
    for name, entry in report["models"].items():
        if language in entry["languages"]:
            scores = entry["languages"][language]
            models[name] = {"languages": {language: scores}, "macro_f1": scores["f1"] if scores["support"] else None}
    if "student" not in models:  # it has no split that the report is about
        return None
    kept = {code: value for code, value in report["retention"]["languages"].items() if code == language}
    retention = {"languages": kept, "macro": kept.get(language)}
    verdict = verdict_of(report)
    judged = verdict["languages"][language]
    verdict |= {"whole": judged, "languages": {language: judged}}
    return {**report, "models": models, "retention": retention, "compression": None, "verdict": verdict}
