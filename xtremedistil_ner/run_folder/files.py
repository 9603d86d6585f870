"""The run folder: every file name a run may write, atomic publishing, fingerprints.

An artefact is a folder that appears whole or not at all: it is written under a temporary name beside its final one,
every file is synced, its manifest (fingerprint and sha256 of every file) is written last, and one rename publishes it.
A kill at any moment leaves the old artefact, the new one, or none, and a temporary folder that the next run removes.

An error of the operating system, such as a full disk, passes through; the end of the process turns it into a message.
Half-written files are removed first, which frees space.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from xtremedistil_ner.errors import ArtefactError, first_line, lack_of_resource, quoted
from xtremedistil_ner.names import is_inside

MANIFEST = "manifest.json"
SCHEMA = 1
EXPORT_SCHEMA = 2
REMEDY = "Remove it and run the same command again."
ASIDE = ("writing", "removing", "replaced")
"""States in which a folder has a temporary name beside its final one, such as `.teacher.writing`."""


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
    def artefacts(self) -> tuple[Path, ...]:
        """The folders that are published whole."""
        return (self.teacher, self.soft_labels, self.student, self.export)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files beside them."""
        return (self.recipe, self.report, self.report_markdown, self.report_html, self.timings)

    @property
    def int8_cost(self) -> Path:
        """What int8 costs the labels of a teacher, beside the shards."""
        return self.soft_labels / "int8.json"

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The files beside the shards."""
        return (self.soft_labels / MANIFEST, self.begun("pseudolabel"), self.int8_cost)

    @property
    def bench(self) -> Path:
        """Measurements of the export by `xner bench`, a JSON file per stage."""
        return self.path / "bench"

    @property
    def export(self) -> Path:
        """The folder that a tagging service loads."""
        return self.path / "export"

    @property
    def timings(self) -> Path:
        """Seconds of each stage, as last run."""
        return self.path / "timings.json"

    def work(self, stage: str) -> Path:
        """A stage's resumable state: training checkpoints, encoded text. Removed when the stage is done."""
        return self.path / "work" / stage

    def begun(self, stage: str) -> Path:
        """The precision in which a stage was begun. That of pseudolabel is beside its shards, because they are kept."""
        return (self.soft_labels if stage == "pseudolabel" else self.work(stage)) / "precision.json"


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_fingerprint(*parts: Any) -> str:  # noqa: ANN401 - any JSON value
    """A short hash of JSON values: equal inputs, equal artefact. Units: 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write a JSON file whole."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with whole_file(path) as stream:
        stream.write(text.encode("utf-8"))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into, under a temporary name; it is then synced and renamed to `path`."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _add_path(error, path)
        raise
    _sync_folder(path.parent)


def read_json(path: Path, *, remedy: str = REMEDY, complaint: type[ArtefactError] = ArtefactError) -> dict[str, Any]:
    """Read a JSON object.

    Raises: `complaint`, which ends with `remedy`, when it is missing or broken.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError) as error:
        raise complaint(f"{path}: missing or broken ({first_line(error)}). {remedy}") from error
    if not isinstance(value, dict):
        raise complaint(f"{path}: the file must be an object, and is {json.dumps(value)[:80]}. {remedy}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def require_kind(path: Path, key: str, value: Any, expected: type) -> None:  # noqa: ANN401 - any JSON value
    """Refuse a JSON value whose type is not the one that a file of ours has for this key.

    Raises: ArtefactError naming file and key.
    """
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        name = {dict: "an object", list: "a list", str: "text", int: "a whole number"}[expected]
        raise ArtefactError(f"{path}: {key} must be {name}, and is {json.dumps(value)[:80]}. {REMEDY}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artefact, with its form checked.

    Raises: ArtefactError if it is missing or broken, or names a file outside the folder.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    _require_manifest(path, manifest)
    return manifest


def _require_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    require_files(path, manifest)
    for name in manifest["files"]:
        if not is_inside(name):
            raise ArtefactError(f"{path}: {quoted(name)} is not a path inside the folder. {REMEDY}")
    if "fingerprint" in manifest:
        require_kind(path, "fingerprint", manifest["fingerprint"], str)


def require_files(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest whose `files` do not have the form that `publish` writes.

    Raises: ArtefactError naming file and key.
    """
    require_kind(path, "files", manifest.get("files"), dict)
    for name, entry in manifest["files"].items():
        require_kind(path, f"files.{name}", entry, dict)
        require_kind(path, f"files.{name}.sha256", entry.get("sha256"), str)
        require_kind(path, f"files.{name}.bytes", entry.get("bytes"), int)


def read_timings(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Seconds and processes of each stage's last run; empty if the file is missing or broken."""
    try:
        value = read_json(run.timings)
    except ArtefactError:
        return {}
    return {stage: entry for stage, entry in value.items() if _is_timing(entry)}


def _is_timing(entry: Any) -> bool:  # noqa: ANN401 - any JSON value
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("seconds"), int | float)
        and isinstance(entry.get("processes"), int)
    )


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
    except BaseException as error:
        clear(temporary)
        _add_path(error, target)
        raise


def aside(path: Path, state: str) -> Path:
    """The temporary name of a folder in one of the states `ASIDE`."""
    return path.with_name(f".{path.name}.{state}")


def _add_path(error: BaseException, path: Path) -> None:
    """Add the path to an error of a write, which neither the system nor libraries in Rust name."""
    if getattr(error, "filename", None) is None and lack_of_resource(error) is not None:
        error.filename = str(path)  # type: ignore[attr-defined]


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
    """As `published_fingerprint`; empty, and so stale, for an export in a form that this version does not read."""
    value = published_fingerprint(folder)
    if value is None:
        return None
    manifests = [read_json(student / MANIFEST) for student in student_folders(folder).values()]
    return value if all(is_readable_export(manifest) for manifest in manifests) else ""


def is_readable_export(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is that of an export which this version reads."""
    return (manifest.get("schema"), manifest.get("kind")) == (EXPORT_SCHEMA, "export")


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


def student_folders(path: Path) -> dict[str, Path]:
    """The students in a folder of students or of their exports, by language; a joint student has the key `""`."""
    if (path / "config.json").exists() or not path.is_dir():
        return {"": path}
    students = {folder.name: folder for folder in sorted(path.iterdir()) if (folder / "config.json").exists()}
    return students or {"": path}


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
    _sync_folder(target.parent)
    clear(old)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
