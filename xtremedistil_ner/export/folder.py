"""The folder that a tagging service loads: student, ONNX graphs, model card, and a manifest with their sha256.

Nothing in it depends on time or machine: equal students and reports give equal bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from xtremedistil_ner import __version__
from xtremedistil_ner.export.card import format_card
from xtremedistil_ner.export.contract import write_contract
from xtremedistil_ner.export.int8_verdict import Int8Verdict
from xtremedistil_ner.export.onnx_graph import build_graph, write_graph
from xtremedistil_ner.export.onnx_int8 import quantise_graph
from xtremedistil_ner.export.triton import FOLDER as TRITON_FOLDER
from xtremedistil_ner.export.triton import write_triton
from xtremedistil_ner.export.web_page import write_web
from xtremedistil_ner.models.student import LoadedStudent, is_for_transformers, load_student, student_files
from xtremedistil_ner.recipe.schema import ExportFormat
from xtremedistil_ner.run_folder.artefacts import EXPORT_SCHEMA
from xtremedistil_ner.run_folder.files import MANIFEST
from xtremedistil_ner.run_folder.whole_files import sha256_file, write_json
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES
from xtremedistil_ner.tagging.tagger import Tagger

CARD_FILE = "README.md"
JudgeInt8 = Callable[[Tagger, Tagger], Int8Verdict]


def write_export(
    student_folder: Path,
    target: Path,
    *,
    formats: Collection[ExportFormat] = ("hf", "onnx"),
    judge: JudgeInt8 | None = None,
    onnxruntime_web: Path | None = None,
    report: Mapping[str, Any] | None,
    licence: str,
    recipe_name: str,
    fingerprint: str | None = None,
) -> Int8Verdict | None:
    """Write a student's export into the empty folder `target`; the caller publishes it.

    `judge` sees the float32 and the int8 tagger when `formats` have `onnx-int8`, and its verdict, which is returned,
    decides whether the int8 graph stays. With `onnxruntime_web`, the folder of that npm package, there is a page that
    tags in the browser, with the int8 graph if there is one.

    Raises: ModelError when the student's folder is not whole.
    """
    student = load_student(student_folder)
    network = student.network
    for name in student_files(network):
        if "hf" in formats or not is_for_transformers(name):
            shutil.copyfile(student_folder / name, target / name)
    write_contract(target, student)
    scores = _scores(report)
    float32, int8 = target / GRAPH_FILES["float32"], target / GRAPH_FILES["int8"]
    verdict = _write_graphs(student, target, judge if "onnx-int8" in formats else None)
    if "triton" in formats:
        write_triton(target / TRITON_FOLDER, float32, student)
    if onnxruntime_web is not None:
        write_web(
            target / "web",
            int8 if int8.exists() else float32,
            student,
            tokenizer=target / "tokenizer.json",
            name=recipe_name,
            scores=scores,
            runtime=onnxruntime_web,
        )
    if "onnx" not in formats:  # the other graphs were made from it
        float32.unlink()
    card = format_card(
        network.shape,
        student.scheme,
        files=_files(target),
        max_pieces=student.max_pieces,
        has_crf=student.transitions is not None,
        report=report,
        verdict=verdict,
        licence=licence,
        recipe_name=recipe_name,
    )
    (target / CARD_FILE).write_text(card, encoding="utf-8")
    manifest = {
        "schema": EXPORT_SCHEMA,
        "kind": "export",
        "package_version": __version__,
        **({"fingerprint": fingerprint} if fingerprint else {}),
        "parameters": student.parameters,
        "scores": scores,
        "int8": None if verdict is None else verdict.to_json(),
        "files": {
            name: {"sha256": sha256_file(target / name), "bytes": (target / name).stat().st_size}
            for name in _files(target)
        },
    }
    write_json(target / MANIFEST, manifest)
    return verdict


def _write_graphs(student: LoadedStudent, target: Path, judge: JudgeInt8 | None) -> Int8Verdict | None:
    """Write the float32 graph and, with a judge, the int8 one, unless its verdict forbids that."""
    graph = build_graph(student.network, student.scheme, max_pieces=student.max_pieces, transitions=student.transitions)
    float32, int8 = target / GRAPH_FILES["float32"], target / GRAPH_FILES["int8"]
    float32.parent.mkdir()
    write_graph(float32, graph)
    if judge is None:
        return None
    write_graph(int8, quantise_graph(graph))
    verdict = judge(*(Tagger.from_graph(path, target) for path in (float32, int8)))
    if not verdict.is_published:
        int8.unlink()
    return verdict


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _scores(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a service wants to know of a report without reading it."""
    if report is None:
        return None
    student = report["models"]["student"]
    return {
        "synthetic": bool(report.get("synthetic")),
        "macro_f1": student["macro_f1"],
        "languages": {code: scores["f1"] for code, scores in student["languages"].items() if scores["support"]},
        "retention": report.get("retention", {}).get("macro"),
        "operating_points": (student.get("dev") or student).get("operating_points", {}),
    }
