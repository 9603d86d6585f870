"""What this machine has and lacks for a run: one finding a line, each with what to do where something is wrong."""

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
    """One thing looked at. A `problem` keeps what is installed from working, a `warning` some of it.

    `absent` is an extra that is not installed.
    """

    name: str
    state: Literal["ok", "absent", "warning", "problem"]
    text: str


def examine(out: Path, recipes: int) -> list[Finding]:
    """Look at this machine. `out` is where runs go; `recipes` is how many came with the package.

    What is only looked at by way of an extra's package is left out where that package is missing.
    """
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
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
    return [finding for name, look in looks.items() for finding in _findings_of(name, look)]


def _findings_of(name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look found; a look that fails, for whatever reason, is a finding itself."""
    try:
        return list(look())
    except Exception as error:
        if lack_of_extra(error, "doctor"):  # the extra is reported as absent
            return []
        text = f"cannot be looked at ({type(error).__name__}: {first_line(error)}). Install its packages again."
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
    for requirement in _wanted(needed, ""):
        reported.add(requirement.name)
        yield _package(requirement)
    for extra, purpose in _EXTRAS.items():
        wanted = list(_wanted(needed, extra))
        missing = [requirement.name for requirement in wanted if _version_of(requirement) is None]
        for requirement in wanted:
            if requirement.name not in reported and requirement.name not in missing:
                reported.add(requirement.name)
                yield _package(requirement)
        yield _extra(extra, purpose, missing)


def _wanted(needed: Sequence[Requirement], extra: str) -> Iterator[Requirement]:
    """The requirements of an extra, those of the extras that it names included; of the base with an empty name."""
    for requirement in needed:
        marker = requirement.marker
        of_base = marker is None or marker.evaluate({"extra": ""})
        if of_base == bool(extra) or not (marker is None or marker.evaluate({"extra": extra})):
            continue
        if requirement.name == _PACKAGE:
            for name in requirement.extras:
                yield from _wanted(needed, name)
        else:
            yield requirement


def _package(requirement: Requirement) -> Finding:
    name, found = requirement.name, _version_of(requirement)
    remedy = f"Run: pip install '{name}{requirement.specifier}'"
    if found is None:
        return Finding(name, "problem", f"missing. {remedy}")
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(name, "ok", found)
    return Finding(name, "problem", f"{found} is too old. {remedy}")


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
        yield Finding("gpu", "warning", "none: runs work, and take long with a teacher of BERT's size.")
    yield Finding("precision", "ok", describe_device(best_device()))
    yield Finding("torch threads", "ok", str(torch.get_num_threads()))


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    found = f"{total / 1e9:.1f} GB"
    if total < _LITTLE_MEMORY_GB * 1e9:
        return Finding("memory", "warning", f"{found}; the demo wants {_LITTLE_MEMORY_GB:.0f} GB.")
    return Finding("memory", "ok", found)


def _disk(out: Path) -> Finding:
    place = next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.is_dir())
    free = f"{shutil.disk_usage(place).free / 1e9:.1f} GB free at {place}"
    if not os.access(place, os.W_OK):
        return Finding("disk", "problem", f"{place} cannot be written. Give another folder with --out.")
    if shutil.disk_usage(place).free < _LITTLE_DISK_GB * 1e9:
        text = f"{free}; a run with a teacher of BERT's size wants {_LITTLE_DISK_GB:.0f} GB."
        return Finding("disk", "warning", text)
    return Finding("disk", "ok", free)


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
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    if not os.access(place, os.W_OK):
        return Finding("cache", "problem", f"{cache} cannot be written. Set HF_HOME to a folder that can.")
    return Finding("cache", "ok", str(cache) if cache.is_dir() else f"{cache} (made when needed)")


def _packaged_data(recipes: int) -> Finding:
    try:
        languages = len(languages_of(demo_path()))
    except XnerError as error:
        return Finding("packaged data", "problem", str(error))
    if not recipes:
        return Finding("packaged data", "problem", "no recipes. Install the package again.")
    return Finding("packaged data", "ok", f"demo corpus of {languages} languages, {recipes} recipes")
