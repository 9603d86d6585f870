"""Files written whole and read with one complaint: text, JSON, hashes.

A file appears under its name once it is complete and synced. An error of the operating system, such as a full disk,
passes through; the end of the process turns it into a message. A half-written file is removed first, which frees space.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from xtremedistil_ner.errors import ArtefactError, first_line, lack_of_resource

REMEDY = "Remove it and run the same command again."


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
def whole_file(path: Path, *, temporary: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file to write into, under a temporary name; it is then synced and renamed to `path`.

    Without `temporary` that name ends in `.tmp`, by which the next run finds what a killed one left in a run folder.
    """
    temporary = temporary or path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        add_path(error, path)
        raise
    sync_folder(path.parent)


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


def require_kind(
    path: Path,
    key: str,
    value: Any,  # noqa: ANN401 - any JSON value
    expected: type,
    *,
    remedy: str = REMEDY,
) -> None:
    """Refuse a JSON value whose type is not the one that a file of ours has for this key.

    Raises: ArtefactError naming file and key.
    """
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        name = {dict: "an object", list: "a list", str: "text", int: "a whole number"}[expected]
        raise ArtefactError(f"{path}: {key} must be {name}, and is {json.dumps(value)[:80]}. {remedy}")


def add_path(error: BaseException, path: Path) -> None:
    """Add the path to an error of a write, which neither the system nor libraries in Rust name."""
    if getattr(error, "filename", None) is None and lack_of_resource(error) is not None:
        error.filename = str(path)  # type: ignore[attr-defined]


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
