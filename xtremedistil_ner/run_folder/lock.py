"""One process at a time writes a run folder: its lock, the check for foreign files, and the removal of leftovers."""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import ArtefactError, ResourceError
from xtremedistil_ner.run_folder.artefacts import ASIDE, aside, clear, read_manifest, remove
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder
from xtremedistil_ner.run_folder.soft_labels import SHARD_PATTERN

_LOCK, _WORKERS = ".lock", ".workers.lock"
_SHARD = re.compile(SHARD_PATTERN)
_SHARD_ASIDE = re.compile(rf"\.{SHARD_PATTERN}\.({'|'.join(ASIDE)})")
_ASIDE = re.compile(rf"\..+\.({'|'.join(ASIDE)})")
_WOULD_GO = "no run wrote it, and this one would remove it. Move it away."


@contextmanager
def run_lock(folder: Path, *, workers_gone_within_s: float = 60.0) -> Iterator[None]:
    """Hold a run folder for writing. The lock ends with the process, even if the process is killed.

    Worker processes of a killed run end shortly after it; the lock waits for them.

    Raises: ResourceError if another process holds the lock, or if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_LOCK, _WORKERS):
            (folder / name).open("a").close()
    except OSError as error:
        raise ResourceError(
            f"{folder}: cannot be written ({error.strerror}). Give another folder with --out."
        ) from error
    with (folder / _LOCK).open("a") as lock, (folder / _WORKERS).open("a") as workers:
        if not _try_lock(lock):
            raise ResourceError(
                f"{folder}: another process is writing this run. Wait for it, or give another folder with --out."
            )
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
    stages = (run.work("finetune"), run.work("train"))
    _require_none(
        (path for path in (*folders, *run.files) if path.is_symlink() and not path.exists()),
        "a link whose target is missing. Mount it, or remove the link.",
    )
    _require_none(
        (path for path in (*folders, *stages) if path.exists() and not path.is_dir()),
        "a file where a folder belongs. Move it away, or give another --out.",
    )
    if not run.recipe.exists():  # no run was ever here, so that only whole artefacts can be ours
        filled = (path for path in folders if path.is_dir() and any(path.iterdir()))
        _require_none(
            (path for path in filled if not (path / MANIFEST).is_file()),
            "files that no run wrote. Move them away, or give another --out.",
        )
    notes = [note(stage) for stage in ("finetune", "train") for note in (run.begun, run.begun_with)]
    scores = [run.scores(model) for model in ("teacher", "student", "gazetteer", "contexts")]
    _require_none(
        (path for path in (*run.files, *run.label_files, *notes, *scores) if path.is_dir()),
        "a folder where a file belongs. Move it away, or give another --out.",
    )


def require_own_files(run: RunFolder, artefact: Path) -> None:
    """Refuse to replace an artefact of a run if it has files that no run wrote.

    Raises: ResourceError.
    """
    foreign = _foreign_to_store(run) if artefact == run.soft_labels else _foreign_to_artefact(artefact)
    _require_none(foreign, _WOULD_GO)


def require_own_work(work: Path) -> None:
    """Refuse a stage's state if it has files that no stage wrote: it is removed when the stage is done.

    Raises: ResourceError.
    """
    _require_none(_foreign_to_work(work), _WOULD_GO)


def remove_work(work: Path) -> None:
    """Remove a stage's state. If somebody put a file of their own into it, all of it stays and the next run says so."""
    if not any(_foreign_to_work(work)):
        remove(work)


def _foreign_to_work(folder: Path) -> Iterator[Path]:
    """Files beside and inside published folders that no stage wrote; beside them it writes how it was begun."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir() or path.is_symlink():
            if path.name.removesuffix(".tmp") not in ("precision.json", "processes.json"):
                yield path
        elif not _ASIDE.fullmatch(path.name):
            yield from _foreign_to_artefact(path) if (path / MANIFEST).exists() else _foreign_to_work(path)


def _require_none(paths: Iterable[Path], problem: str) -> None:
    for path in paths:
        raise ResourceError(f"{path}: {problem}")


def _foreign_to_artefact(folder: Path) -> Iterator[Path]:
    """Files that the manifest of an artefact does not name; none if the manifest is broken and so cannot tell."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / MANIFEST).exists():
        yield folder
        return
    try:
        named = {MANIFEST, *read_manifest(folder)["files"]}
    except ArtefactError:
        return
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    yield from (path for path in files if path.relative_to(folder).as_posix() not in named)


def _foreign_to_store(run: RunFolder) -> Iterator[Path]:
    names = {path.name for path in run.label_files}
    for path in sorted(run.soft_labels.iterdir()) if run.soft_labels.is_dir() else ():
        if path.is_dir() and _SHARD.fullmatch(path.name):
            yield from _foreign_to_artefact(path)
        elif path.name.removesuffix(".tmp") not in names and not _SHARD_ASIDE.fullmatch(path.name):
            yield path


def clear_leftovers(run: RunFolder) -> None:
    """Remove what killed processes left half written or half removed in a run folder, by the names they give it.

    The lock must be held. Nothing is removed through a symbolic link.
    """
    for path in run.artefacts:
        for state in ASIDE:
            clear(aside(path, state))
    for path in run.files:
        clear(path.with_name(f"{path.name}.tmp"))
    for folder, name in (
        (run.work("any").parent, re.compile(r"\.(finetune|train)\.removing")),
        (run.soft_labels, _SHARD_ASIDE),
        (run.soft_labels, re.compile(r"\w+\.json\.tmp")),
        (run.scores("any").parent, re.compile(r".+\.npz\.tmp")),
        (run.bench, re.compile(r"\w+\.json\.tmp")),
    ):
        if folder.is_dir() and not folder.is_symlink():
            for path in [path for path in folder.iterdir() if name.fullmatch(path.name)]:
                clear(path)
