"""The export of a tiny student: 0.05 s to make."""

from __future__ import annotations

from pathlib import Path

from support.tiny_student import save_tiny_student
from xtremedistil_ner.export.folder import write_export


def make_export(folder: Path, *, save=save_tiny_student, report=None, **options) -> Path:
    """`folder/export`, of a student that `save` writes beside it; `options` are `write_export`'s."""
    folder.mkdir(exist_ok=True)
    save(folder / "student")
    (folder / "export").mkdir()
    write_export(folder / "student", folder / "export", report=report, licence="other", recipe_name="tiny", **options)
    return folder / "export"
