"""One process at a time writes a run folder: the lock, what is in the way, and what killed processes left there."""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import ArtefactError, ResourceError
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder, clear, read_manifest

_LOCK, _WORKERS = ".lock", ".workers.lock"
_ASIDE = ("writing", "removing", "replaced")
_LABEL_FILES = (MANIFEST, "precision.json", "int8.json")
_SHARD = re.compile(r".+-\d{5}")
_SHARD_ASIDE = re.compile(rf"\..+-\d{{5}}\.({'|'.join(_ASIDE)})")


@contextmanager
def run_lock(folder: Path, *, workers_gone_within_s: float = 60.0) -> Iterator[None]:
    """Hold a run folder for writing. The lock goes with the process, however it ends.

    Worker processes of a killed run end a moment after it; the lock waits for them.

    Raises: ResourceError when another process holds it, or when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_LOCK, _WORKERS):
            (folder / name).open("a").close()
    except OSError as error:
        raise ResourceError(
            f"{folder}: cannot be written ({error.strerror}). Give another folder with --out."
        ) from error
    with (folder / _LOCK).open("a") as own, (folder / _WORKERS).open("a") as workers:
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
    stream = (folder / _WORKERS).open("a")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream.close


def _try_lock(stream: Any) -> bool:  # noqa: ANN401
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_places(run: RunFolder) -> None:
    """Refuse a run folder in which something foreign has the name of an artefact or of a file.

    Raises: ResourceError.
    """
    folders = (*run.artefacts, run.scores("any").parent, run.bench, run.work("any").parent)
    lost = [path for path in (*folders, *run.files) if path.is_symlink() and not path.exists()]
    if lost:
        raise ResourceError(f"{lost[0]}: a link to what is not there. Mount it, or remove the link.")
    wrong = [path for path in folders if path.exists() and not path.is_dir()]
    if wrong:
        raise ResourceError(f"{wrong[0]}: a file where a folder belongs. Move it away, or give another --out.")
    if not run.recipe.exists():  # no run was ever here, so that only whole artefacts can be ours
        filled = [path for path in folders if path.is_dir() and any(path.iterdir())]
        foreign = [path for path in filled if not (path / MANIFEST).is_file()]
        if foreign:
            raise ResourceError(f"{foreign[0]}: files that no run wrote. Move them away, or give another --out.")
    stages = (run.work("finetune"), run.work("train"))
    wrong = [path for path in stages if path.exists() and not path.is_dir()]
    if wrong:
        raise ResourceError(f"{wrong[0]}: a file where a folder belongs. Move it away, or give another --out.")
    labels = [run.soft_labels / name for name in _LABEL_FILES]
    notes = [run.begun(stage) for stage in ("finetune", "train")]
    scores = [run.scores(model) for model in ("teacher", "student", "gazetteer", "contexts")]
    wrong = [path for path in (*run.files, *labels, *notes, *scores) if path.is_dir()]
    if wrong:
        raise ResourceError(f"{wrong[0]}: a folder where a file belongs. Move it away, or give another --out.")


def require_own_files(folder: Path) -> None:
    """Refuse to replace an artefact, or a store of shards, in which there is what no run wrote.

    Raises: ResourceError.
    """
    foreign = _foreign_to_store(folder) if folder.name == "soft_labels" else _foreign_to(folder)
    if foreign is not None:
        raise ResourceError(f"{foreign}: no run wrote it, and this one would remove it. Move it away.")


def _foreign_to(folder: Path) -> Path | None:
    """What the manifest of an artefact does not name; nobody can tell where the manifest is broken."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not (folder / MANIFEST).exists():
        return folder
    try:
        own = {MANIFEST, *read_manifest(folder)["files"]}
    except ArtefactError:
        return None
    found = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return next((path for path in found if path.relative_to(folder).as_posix() not in own), None)


def _foreign_to_store(folder: Path) -> Path | None:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and _SHARD.fullmatch(path.name):
            if (foreign := _foreign_to(path)) is not None:
                return foreign
        elif path.name.removesuffix(".tmp") not in _LABEL_FILES and not _SHARD_ASIDE.fullmatch(path.name):
            return path
    return None


def clear_leftovers(run: RunFolder) -> None:
    """Remove what killed processes left half written or half removed in a run folder, by the names they give it.

    The lock must be held. Nothing is removed through a symbolic link.
    """
    for path in run.artefacts:
        for what in _ASIDE:
            clear(path.with_name(f".{path.name}.{what}"))
    for path in run.files:
        clear(path.with_name(f"{path.name}.tmp"))
    for folder, name in (
        (run.work("any").parent, re.compile(r"\.\w+\.removing")),
        (run.soft_labels, _SHARD_ASIDE),
        (run.soft_labels, re.compile(r"\w+\.json\.tmp")),
        (run.scores("any").parent, re.compile(r".+\.npz\.tmp")),
        (run.bench, re.compile(r"\w+\.(json|svg)\.tmp")),
    ):
        if folder.is_dir() and not folder.is_symlink():
            for path in [path for path in folder.iterdir() if name.fullmatch(path.name)]:
                clear(path)
