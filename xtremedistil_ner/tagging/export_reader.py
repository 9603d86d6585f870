"""An export folder as its reader sees it: the names of its files, and a manifest with the sha256 of each.

Nothing of a folder is used before its sha256 was compared with the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from xtremedistil_ner.errors import ArtefactError, ModelError
from xtremedistil_ner.languages import language_name
from xtremedistil_ner.names import is_inside
from xtremedistil_ner.run_folder.artefacts import EXPORT_SCHEMA, is_readable_export, require_files
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder
from xtremedistil_ner.run_folder.whole_files import REMEDY, read_json, require_kind, sha256_file

GraphPrecision = Literal["float32", "int8"]
GRAPH_FILES: dict[GraphPrecision, str] = {"float32": "onnx/model.onnx", "int8": "onnx/model_int8.onnx"}
_NEEDED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def is_export(folder: Path) -> bool:
    """Whether a folder has a manifest that calls itself an export's."""
    try:
        return bool(read_json(folder / MANIFEST).get("kind") == "export")
    except (ArtefactError, OSError):
        return False


def find_export(path: Path) -> Path:
    """The export that a path names: the folder itself, or the one of a run folder, even if that has lost its recipe.

    Raises: ModelError for a run folder without an export, and for students per language: one of them has to be named.
    """
    run = RunFolder(path)
    is_run = (run.recipe.is_file() or run.export.is_dir()) and not (path / "config.json").exists()
    folder = run.export if is_run else path
    if is_run and not folder.is_dir():
        raise ModelError(f"{path}: a run folder without an export. Run `xner export {path}`, which writes {folder}.")
    each = sorted(part.parent for part in folder.glob(f"*/{MANIFEST}") if is_export(part.parent))
    if each and not (folder / "config.json").exists():
        raise ModelError(f"{folder}: an export for each language. Give one of them: {', '.join(map(str, each))}.")
    return folder


def verify_export(folder: Path) -> dict[str, Any]:
    """Compare an export folder with its manifest; the manifest.

    Hidden files, such as those that downloads from the Hub leave, are allowed: nothing reads them.

    Raises: ModelError listing every file that is missing, foreign, changed or named outside the folder.
    """
    manifest = _read_manifest(folder / MANIFEST)
    files = manifest["files"]
    problems = [f"{name!r} is not a path inside the folder" for name in files if not is_inside(name)]
    if not problems:
        problems = [f"{name} is missing from {MANIFEST}" for name in _NEEDED_FILES if name not in files]
        for name, entry in files.items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
                problems.append(f"{name} is not the file that was exported")
        present = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
        foreign = sorted(path.as_posix() for path in present if not any(part.startswith(".") for part in path.parts))
        problems += [f"{name} is foreign" for name in foreign if name not in files and name != MANIFEST]
    if problems:
        raise ModelError(f"{folder}: {'; '.join(problems)}. Export again, or copy the whole folder again.")
    return manifest


def choose_graph(folder: Path, manifest: dict[str, Any], precision: GraphPrecision | None) -> Path:
    """The ONNX graph of a precision; without one the float32 graph, or else the int8 one.

    Raises: ModelError when the export has no such graph.
    """
    present = [name for name, file in GRAPH_FILES.items() if file in manifest["files"]]
    fitting = [name for name in present if precision in (None, name)]
    if not fitting:
        has = f"only {', '.join(present)}" if present else "none"
        raise ModelError(
            f"{folder}: no ONNX graph{f' in {precision}' if precision else ''}, {has}. "
            "Export again with `--format onnx,onnx-int8`."
        )
    return folder / GRAPH_FILES[fitting[0]]


def language_scores(scores: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Name and F1 of each language that the `scores` of a manifest have."""
    languages = {} if scores is None else scores["languages"]
    return {code: {"name": language_name(code), "f1": f1} for code, f1 in languages.items()}


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
        if is_readable_export(manifest):
            _require_form(path, manifest)
    except ArtefactError as error:
        reason = str(error).removesuffix(REMEDY)
        raise ModelError(f"{reason}Give a folder that `xner export` wrote.") from error
    if not is_readable_export(manifest):
        kind, schema = manifest.get("kind"), manifest.get("schema")
        raise ModelError(
            f"{path}: kind {kind!r}, schema {schema!r}; this version reads kind 'export', schema "
            f"{EXPORT_SCHEMA}. Give a folder that `xner export` of this version wrote."
        )
    return manifest


def _require_form(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest with other types than an export's; whether the names are good is told with the files."""
    require_files(path, manifest)
    require_kind(path, "parameters", manifest.get("parameters"), int)
    if (scores := manifest.get("scores")) is not None:
        require_kind(path, "scores", scores, dict)
        require_kind(path, "scores.languages", scores.get("languages"), dict)
