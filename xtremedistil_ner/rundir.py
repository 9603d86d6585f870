"""The run folder: every file name a run may write, atomic publishing, fingerprints, and the lock.

An artefact is a folder that appears whole or not at all: it is written beside its place, every file is synced,
its manifest (fingerprint and sha256 of every file) is written last, and one rename publishes it. A kill at any
moment leaves the old artefact, the new one, or none, and a temporary folder that the next run removes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import ArtefactError, ResourceError
from xtremedistil_ner.names import is_inside, quote

MANIFEST = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """All names inside one run folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe with every default spelled out."""
        return self.path / "recipe.yaml"

    @property
    def teacher(self) -> Path:
        """The fine-tuned teacher, in transformers' layout."""
        return self.path / "teacher"

    @property
    def soft_labels(self) -> Path:
        """The soft-label store."""
        return self.path / "soft_labels"

    @property
    def student(self) -> Path:
        """The student checkpoint."""
        return self.path / "student"

    @property
    def report(self) -> Path:
        """The evaluation as JSON."""
        return self.path / "report.json"

    @property
    def report_markdown(self) -> Path:
        """The evaluation as a table to read."""
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        """The evaluation as a page to read in a browser."""
        return self.path / "report.html"

    def scores(self, model: str) -> Path:
        """Entity counts of every scored sentence, by one model."""
        return self.path / "scores" / f"{model}.npz"

    @property
    def bench(self) -> Path:
        """What `xner bench` measured of the export, a JSON file per stage."""
        return self.path / "bench"

    @property
    def export(self) -> Path:
        """What a tagging service loads."""
        return self.path / "export"

    @property
    def timings(self) -> Path:
        """Seconds of each stage, as last run."""
        return self.path / "timings.json"

    def work(self, stage: str) -> Path:
        """A stage's resumable state: training checkpoints, encoded text. Removed when the stage is done."""
        return self.path / "work" / stage


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:  # noqa: ANN401 - any JSON value
    """A short hash of JSON values: equal inputs, equal artefact. Units: 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write a JSON file whole."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole: beside its place, synced, renamed."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises: ArtefactError when it is missing or broken.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: missing or broken ({error}). Remove {path.parent} and run again.") from error
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: not a JSON object. Remove {path.parent} and run again.")
    return value


@contextmanager
def publish(target: Path, details: Mapping[str, Any]) -> Iterator[Path]:
    """Give a temporary folder to write into; when the block ends well, it becomes `target`, with a manifest.

    `details` go into the manifest; a fingerprint belongs there under `fingerprint`.

    Raises: ResourceError when the disk is full.
    """
    temporary = target.with_name(f".{target.name}.writing")
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        files = {}
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                _sync_file(path)
                files[path.relative_to(temporary).as_posix()] = {
                    "sha256": sha256_file(path),
                    "bytes": path.stat().st_size,
                }
        if MANIFEST not in files:
            write_json(temporary / MANIFEST, {"schema": SCHEMA, **details, "files": files})
        for folder in [temporary, *(path for path in temporary.rglob("*") if path.is_dir())]:
            _sync_folder(folder)
        _replace_folder(temporary, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ResourceError(
                f"{target}: the disk is full. Free some space and run the same command again."
            ) from error
        raise


def published_fingerprint(folder: Path) -> str | None:
    """The fingerprint of a published artefact, or None when there is none or it is not whole."""
    try:
        manifest = read_json(folder / MANIFEST)
        complete = all(
            is_inside(name) and (folder / name).stat().st_size == entry["bytes"]
            for name, entry in manifest["files"].items()
        )
        value = manifest["fingerprint"]
    except (ArtefactError, OSError, KeyError, TypeError, AttributeError):
        return None
    return str(value) if complete else None


def sealed(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report with a hash of all that it says, by which `require_seal` knows it."""
    return {**report, "seal": fingerprint({key: value for key, value in report.items() if key != "seal"})}


def require_seal(report: Mapping[str, Any], path: Path) -> None:
    """Check that a report is as it was written; those of earlier versions have no seal.

    Raises: ArtefactError.
    """
    if "seal" in report and report["seal"] != sealed(report)["seal"]:
        raise ArtefactError(f"{path}: changed since it was written. Remove it and run `xner distil` again.")


def report_fingerprint(path: Path) -> str | None:
    """The fingerprint inside a `report.json`, or None when there is no whole one."""
    try:
        return str(read_json(path)["run"]["fingerprint"])
    except (ArtefactError, KeyError, TypeError):
        return None


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of an artefact against its manifest; the manifest.

    Raises: ArtefactError naming each file that is missing or differs.
    """
    manifest = read_json(folder / MANIFEST)
    problems = []
    for name, entry in manifest.get("files", {}).items():
        path = folder / name
        if not is_inside(name):
            problems.append(f"{quote(name)} is not a path inside the folder")
        elif not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
            problems.append(f"{name} differs from the manifest")
    if problems:
        raise ArtefactError(f"{folder}: {'; '.join(problems)}. Remove the folder and run the same command again.")
    return manifest


def remove(folder: Path) -> None:
    """Remove an artefact so that no moment shows half of it: renamed away first."""
    if folder.exists():
        away = folder.with_name(f".{folder.name}.removing")
        if away.exists():
            shutil.rmtree(away)
        folder.rename(away)
        shutil.rmtree(away)


def student_folders(path: Path) -> dict[str, Path]:
    """The students in a folder of students or of their exports, by language; under `""` the folder of a joint one."""
    if (path / "config.json").exists() or not path.is_dir():
        return {"": path}
    found = {folder.name: folder for folder in sorted(path.iterdir()) if (folder / "config.json").exists()}
    return found or {"": path}


@contextmanager
def run_lock(folder: Path, *, workers_gone_within_s: float = 60.0) -> Iterator[None]:
    """Hold a run folder for writing. The lock goes with the process, however it ends.

    Worker processes of a killed run end a moment after it; the lock waits for them.

    Raises: ResourceError when another process holds it, or when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise ResourceError(
            f"{folder}: cannot be written ({error.strerror}). Give another folder with --out."
        ) from error
    with (folder / ".lock").open("a") as own, (folder / ".workers.lock").open("a") as workers:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResourceError(
                f"{folder}: another process is writing this run. Wait for it, or give another folder with --out."
            ) from error
        deadline = time.monotonic() + workers_gone_within_s
        while not _try_lock(workers):
            if time.monotonic() > deadline:
                raise ResourceError(f"{folder}: worker processes of an earlier run are still alive. End them first.")
            time.sleep(0.2)
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield


def hold_as_worker(folder: Path) -> Callable[[], None]:
    """Mark this process as a worker on the run folder until the returned function is called or the process ends."""
    stream = (folder / ".workers.lock").open("a")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream.close


def _try_lock(stream: Any) -> bool:  # noqa: ANN401
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace_folder(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.replaced")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    new.rename(target)
    _sync_folder(target.parent)
    if old.exists():
        shutil.rmtree(old)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
