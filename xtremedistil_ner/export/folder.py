"""The folder that a tagging service loads: student, ONNX graph, model card, and a manifest that vouches for them.

It has no time and no machine in it: equal students and reports give equal bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtremedistil_ner import __version__
from xtremedistil_ner.export.card import format_card
from xtremedistil_ner.export.onnx_graph import write_onnx
from xtremedistil_ner.models.student import load_student, student_files
from xtremedistil_ner.rundir import MANIFEST, sha256_file, write_json
from xtremedistil_ner.tagger import EXPORT_SCHEMA, ONNX_FILE

CARD_FILE = "README.md"


def write_export(
    student_folder: Path,
    target: Path,
    *,
    report: Mapping[str, Any] | None,
    licence: str,
    recipe_name: str,
    fingerprint: str | None = None,
) -> None:
    """Write a student's export into the empty folder `target`; publishing it is the caller's business.

    Raises: ModelError when the student's folder is not whole.
    """
    student = load_student(student_folder)
    shape, max_pieces = student.network.shape, int(student.config["max_pieces"])
    copied = student_files(student.network)
    for name in copied:
        shutil.copyfile(student_folder / name, target / name)
    (target / ONNX_FILE).parent.mkdir()
    write_onnx(
        target / ONNX_FILE, student.network, student.scheme, max_pieces=max_pieces, transitions=student.transitions
    )
    card = format_card(
        shape,
        student.scheme,
        max_pieces=max_pieces,
        has_crf=student.transitions is not None,
        report=report,
        licence=licence,
        recipe_name=recipe_name,
    )
    (target / CARD_FILE).write_text(card, encoding="utf-8")
    names = sorted((*copied, ONNX_FILE, CARD_FILE))
    manifest = {
        "schema": EXPORT_SCHEMA,
        "kind": "export",
        "package_version": __version__,
        **({"fingerprint": fingerprint} if fingerprint else {}),
        "scores": _scores(report),
        "files": {
            name: {"sha256": sha256_file(target / name), "bytes": (target / name).stat().st_size} for name in names
        },
    }
    write_json(target / MANIFEST, manifest)


def _scores(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a service wants to know of a report without reading it."""
    if report is None:
        return None
    student = report["models"]["student"]
    return {
        "synthetic": bool(report.get("synthetic")),
        "macro_f1": student["macro_f1"],
        "languages": {code: scores["f1"] for code, scores in student["languages"].items()},
        "retention": report.get("retention", {}).get("macro"),
    }
