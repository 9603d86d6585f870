"""Artefacts: folders that are published whole, with a manifest, and checked before use; and the report's seal.

An artefact is a folder that appears whole or not at all: it is written under a temporary name beside its final one,
every file is synced, its manifest (fingerprint and sha256 of every file) is written last, and one rename publishes it.
A kill at any moment leaves the old artefact, the new one, or none, and a temporary folder that the next run removes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import ArtefactError, quoted
from xtremedistil_ner.names import is_inside
from xtremedistil_ner.run_folder.files import MANIFEST, student_folders
from xtremedistil_ner.run_folder.whole_files import (
    REMEDY,
    add_path,
    make_fingerprint,
    read_json,
    require_kind,
    sha256_file,
    sync_file,
    sync_folder,
    write_json,
)

SCHEMA = 1
EXPORT_SCHEMA = 2
ASIDE = ("writing", "removing", "replaced")
"""States in which a folder has a temporary name beside its final one, such as `.teacher.writing`."""
_REMEDY = "Remove its folder and run the same command again."


@contextmanager
def publish(target: Path, details: Mapping[str, Any]) -> Iterator[Path]:
    """Give a temporary folder to write into; if the block raises nothing, it becomes `target`, with a manifest.

    `details` are added to the manifest, the fingerprint under `fingerprint`.
    """
    temporary = aside(target, "writing")
    try:
        clear(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        files = {}
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                sync_file(path)
                files[path.relative_to(temporary).as_posix()] = {
                    "sha256": sha256_file(path),
                    "bytes": path.stat().st_size,
                }
        if MANIFEST not in files:
            write_json(temporary / MANIFEST, {"schema": SCHEMA, **details, "files": files})
        for folder in [temporary, *(path for path in temporary.rglob("*") if path.is_dir())]:
            sync_folder(folder)
        _replace_folder(temporary, target)
    except BaseException as error:
        clear(temporary)
        add_path(error, target)
        raise


def aside(path: Path, state: str) -> Path:
    """The temporary name of a folder in one of the states `ASIDE`."""
    return path.with_name(f".{path.name}.{state}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artefact, with its form checked.

    Raises: ArtefactError if it is missing or broken, or names a file outside the folder.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    _require_manifest(path, manifest)
    return manifest


def _require_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    require_files(path, manifest, remedy=_REMEDY)
    for name in manifest["files"]:
        if not is_inside(name):
            raise ArtefactError(f"{path}: {quoted(name)} is not a path inside the folder. {_REMEDY}")
    if "fingerprint" in manifest:
        require_kind(path, "fingerprint", manifest["fingerprint"], str, remedy=_REMEDY)


def require_files(path: Path, manifest: Mapping[str, Any], *, remedy: str = REMEDY) -> None:
    """Refuse a manifest whose `files` do not have the form that `publish` writes.

    Raises: ArtefactError naming file and key.
    """
    require_kind(path, "files", manifest.get("files"), dict, remedy=remedy)
    for name, entry in manifest["files"].items():
        require_kind(path, f"files.{name}", entry, dict, remedy=remedy)
        require_kind(path, f"files.{name}.sha256", entry.get("sha256"), str, remedy=remedy)
        require_kind(path, f"files.{name}.bytes", entry.get("bytes"), int, remedy=remedy)


def published_fingerprint(folder: Path) -> str | None:
    """The fingerprint of a published artefact; None if it is missing or not whole.

    Raises: ArtefactError for a manifest in another form, which no killed process leaves behind.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
    except (ArtefactError, OSError):
        return None
    if not {"files", "fingerprint"} <= manifest.keys():
        return None
    _require_manifest(path, manifest)
    try:
        complete = all((folder / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
    except OSError:
        return None
    value: str = manifest["fingerprint"]
    return value if complete else None


def export_fingerprint(folder: Path) -> str | None:
    """As `published_fingerprint`; None also for an export in a form that this version does not read."""
    value = published_fingerprint(folder)
    manifests = [read_json(student / MANIFEST) for student in student_folders(folder).values()] if value else []
    return value if all(map(is_readable_export, manifests)) else None


def is_readable_export(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is that of an export which this version reads."""
    return (manifest.get("schema"), manifest.get("kind")) == (EXPORT_SCHEMA, "export")


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of an artefact against its manifest, and return the manifest.

    Raises: ArtefactError that names each file that is missing or differs.
    """
    manifest = read_manifest(folder)
    problems = []
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
            problems.append(f"{name} differs from the manifest")
    if problems:
        raise ArtefactError(f"{folder}: {'; '.join(problems)}. Remove the folder and run the same command again.")
    return manifest


def remove(folder: Path) -> None:
    """Remove an artefact; it is renamed first, so that a reader never sees half of it."""
    if folder.exists():
        doomed = aside(folder, "removing")
        clear(doomed)
        folder.rename(doomed)
        clear(doomed)


def clear(path: Path) -> None:
    """Remove a folder, a file or a link, if it exists; the target of a link is kept."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _replace_folder(new: Path, target: Path) -> None:
    old = aside(target, "replaced")
    clear(old)
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    sync_folder(target.parent)
    clear(old)


def sealed(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report with a hash of its content, which `require_seal` checks."""
    return {**report, "seal": make_fingerprint({key: value for key, value in report.items() if key != "seal"})}


def require_seal(report: Mapping[str, Any], path: Path) -> None:
    """Raises: ArtefactError for a report that changed after it was written, or has no seal."""
    if report.get("seal") != sealed(report)["seal"]:
        raise ArtefactError(f"{path}: changed since it was written. Remove it and run `xner distil` again.")


def report_fingerprint(path: Path) -> str | None:
    """The fingerprint inside a `report.json`; None if the file is missing or broken."""
    try:
        return str(read_json(path)["run"]["fingerprint"])
    except (ArtefactError, KeyError, TypeError):
        return None
