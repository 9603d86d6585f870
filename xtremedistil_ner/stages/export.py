"""Stage `export`: student + report → the folder that a tagging service loads."""

from __future__ import annotations

from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.rundir import RunFolder, publish, read_json
from xtremedistil_ner.schema import Recipe

STAGE = "export"


def export_student(recipe: Recipe, run: RunFolder, wanted: str, report: Reporter) -> None:
    """Make `run.export`."""
    with publish(run.export, {}) as folder:
        write_export(
            run.student,
            folder,
            report=read_json(run.report),
            licence=recipe.export.licence,
            recipe_name=recipe.name,
            fingerprint=wanted,
        )
    report(Event(STAGE, f"wrote {run.export}"))
