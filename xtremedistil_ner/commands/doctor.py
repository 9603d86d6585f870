"""What this machine has and lacks for a run. Each finding that is not ok says what to do."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from xtremedistil_ner.corpus.folder import languages_of
from xtremedistil_ner.corpus.places import demo_path
from xtremedistil_ner.errors import XnerError, first_line, lack_of_extra
from xtremedistil_ner.processes.cores import available_cores

_PACKAGE = "xtremedistil-ner"
_PYTHON = (3, 11)
_EXTRAS = {
    "distil": "make, evaluate and time models",
    "serve": "serve an export over HTTP",
    "spacy": "tag in spaCy and read its files",
    "bench": "time models beside their peers",
}
_LITTLE_MEMORY_GB = 4.0  # what `make demo` is allowed
_LITTLE_DISK_GB = 5.0  # a teacher of BERT's base size, its soft labels and a student (estimated)
_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    With a `problem` something that is installed cannot work; a `warning` is a limit; `absent` is an extra that is not
    installed.
    """

    name: str
    state: Literal["ok", "absent", "warning", "problem"]
    text: str


def examine(out: Path, recipes: int) -> list[Finding]:
    """Check this machine. `out` is the folder for runs, `recipes` the number of packaged recipes.

    A check that needs a package of an extra is skipped if the package is missing.
    """
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "python": lambda: [_python()],
        "packages": _packages,
        "cores": lambda: [Finding("cores", "ok", str(available_cores()))],
        "devices": _devices,
        "memory": lambda: [_memory()],
        "disk": lambda: [_disk(out)],
        "hub": lambda: [_hub()],
        "cache": lambda: [_cache()],
        "packaged data": lambda: [_packaged_data(recipes)],
    }
    return [finding for name, check in checks.items() for finding in _findings_of(name, check)]


def _findings_of(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run one check. If it fails, for whatever reason, the failure is its finding."""
    try:
        return list(check())
    except Exception as error:
        if lack_of_extra(error, "doctor"):  # the extra is reported as absent
            return []
        text = f"cannot be checked ({type(error).__name__}: {first_line(error)}). Install its packages again."
        return [Finding(name, "problem", text)]


def _python() -> Finding:
    text = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _PYTHON:
        return Finding("python", "problem", f"{text} is too old. Make an environment with Python 3.11.")
    if sys.version_info[:2] > _PYTHON:
        return Finding("python", "warning", f"{text}; only 3.11 is tested.")
    return Finding("python", "ok", text)


def _packages() -> Iterator[Finding]:
    try:
        needed = [Requirement(text) for text in requires(_PACKAGE) or ()]
    except PackageNotFoundError:  # a source tree on PYTHONPATH
        yield Finding("packages", "warning", f"unknown, because {_PACKAGE} is not installed. Run: pip install -e .")
        return
    reported = set()
    for requirement in _requirements(needed, ""):
        reported.add(requirement.name)
        yield _package(requirement)
    for extra, purpose in _EXTRAS.items():
        requirements = list(_requirements(needed, extra))
        missing = [requirement.name for requirement in requirements if _version_of(requirement) is None]
        for requirement in requirements:
            if requirement.name not in reported and requirement.name not in missing:
                reported.add(requirement.name)
                yield _package(requirement)
        yield _extra(extra, purpose, missing)


def _requirements(needed: Sequence[Requirement], extra: str) -> Iterator[Requirement]:
    """The requirements of an extra and of the extras that it includes; with an empty name those of the base."""
    for requirement in needed:
        marker = requirement.marker
        of_base = marker is None or marker.evaluate({"extra": ""})
        if of_base == bool(extra) or not (marker is None or marker.evaluate({"extra": extra})):
            continue
        if requirement.name == _PACKAGE:
            for name in requirement.extras:
                yield from _requirements(needed, name)
        else:
            yield requirement


def _package(requirement: Requirement) -> Finding:
    name, installed = requirement.name, _version_of(requirement)
    remedy = f"Run: pip install '{name}{requirement.specifier}'"
    if installed is None:
        return Finding(name, "problem", f"missing. {remedy}")
    if requirement.specifier.contains(installed, prereleases=True):
        return Finding(name, "ok", installed)
    return Finding(name, "problem", f"{installed} is too old. {remedy}")


def _extra(name: str, purpose: str, missing: list[str]) -> Finding:
    if not missing:
        return Finding(f"[{name}]", "ok", f"installed, to {purpose}")
    text = f"lacks {', '.join(missing)}. To {purpose}, run: pip install '{_PACKAGE}[{name}]'"
    return Finding(f"[{name}]", "absent", text)


def _version_of(requirement: Requirement) -> str | None:
    try:
        return version(requirement.name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    import torch  # heavy

    from xtremedistil_ner.processes.precision import best_device, describe_device

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory
            yield Finding(f"gpu {index}", "ok", f"{torch.cuda.get_device_name(index)}, {memory / 1e9:.0f} GB")
    else:
        yield Finding("gpu", "warning", "none: runs work, but take long with a teacher of BERT's size.")
    yield Finding("precision", "ok", describe_device(best_device()))
    yield Finding("torch threads", "ok", str(torch.get_num_threads()))


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (limit_bytes := limit.read_text().strip()).isdigit():
        total = min(total, int(limit_bytes))
    text = f"{total / 1e9:.1f} GB"
    if total < _LITTLE_MEMORY_GB * 1e9:
        return Finding("memory", "warning", f"{text}; the demo needs {_LITTLE_MEMORY_GB:.0f} GB.")
    return Finding("memory", "ok", text)


def _disk(out: Path) -> Finding:
    folder = _existing_folder(out.resolve())
    free_bytes = shutil.disk_usage(folder).free
    free = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    if not os.access(folder, os.W_OK):
        return Finding("disk", "problem", f"{folder} cannot be written. Give another folder with --out.")
    if free_bytes < _LITTLE_DISK_GB * 1e9:
        text = f"{free}; a run with a teacher of BERT's size needs {_LITTLE_DISK_GB:.0f} GB."
        return Finding("disk", "warning", text)
    return Finding("disk", "ok", free)


def _existing_folder(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _hub() -> Finding:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Finding("hub", "ok", "not asked: HF_HUB_OFFLINE is set; checkpoints come from folders and the cache.")
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        with urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S):
            return Finding("hub", "ok", f"{constants.ENDPOINT} answers")
    except urllib.error.HTTPError as error:
        return Finding("hub", "ok", f"{constants.ENDPOINT} answers ({error.code})")
    except (OSError, ValueError, HTTPException) as error:
        text = f"{constants.ENDPOINT} cannot be reached ({error}). Folders and the cache work without it."
        return Finding("hub", "warning", text)


def _cache() -> Finding:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if not os.access(_existing_folder(cache), os.W_OK):
        return Finding("cache", "problem", f"{cache} cannot be written. Set HF_HOME to a folder that can.")
    return Finding("cache", "ok", str(cache) if cache.is_dir() else f"{cache} (created when needed)")


def _packaged_data(recipes: int) -> Finding:
    try:
        languages = len(languages_of(demo_path()))
    except XnerError as error:
        return Finding("packaged data", "problem", str(error))
    if not recipes:
        return Finding("packaged data", "problem", "no recipes. Install the package again.")
    return Finding("packaged data", "ok", f"demo corpus of {languages} languages, {recipes} recipes")
