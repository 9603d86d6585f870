"""What this machine has and lacks for a run: one finding a line, each with what to do where something is wrong."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from xtremedistil_ner.corpus.folder import languages_of
from xtremedistil_ner.corpus.places import demo_path
from xtremedistil_ner.errors import XnerError

_PACKAGE = "xtremedistil-ner"
_PYTHON = (3, 11)
_LITTLE_MEMORY_GB = 4.0  # what `make demo` is allowed
_LITTLE_DISK_GB = 5.0  # a teacher of BERT's base size, its soft labels and a student (estimated)
_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. A `problem` keeps runs from working, a `warning` some of them."""

    name: str
    state: Literal["ok", "warning", "problem"]
    text: str


def examine(out: Path, recipes: int) -> list[Finding]:
    """Look at this machine. `out` is where runs go; `recipes` is how many came with the package."""
    return [
        _python(),
        *_packages(),
        *_devices(),
        _memory(),
        _disk(out),
        _hub(),
        _cache(),
        _packaged_data(recipes),
    ]


def _python() -> Finding:
    text = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == _PYTHON:
        return Finding("python", "ok", text)
    return Finding("python", "problem", f"{text}; only 3.11 is tested. Make an environment with Python 3.11.")


def _packages() -> Iterator[Finding]:
    try:
        needed = [Requirement(text) for text in requires(_PACKAGE) or ()]
    except PackageNotFoundError:  # a source tree on PYTHONPATH
        yield Finding("packages", "warning", f"unknown, because {_PACKAGE} is not installed. Run: pip install -e .")
        return
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "problem", f"missing. Run: pip install '{requirement}'")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Finding(requirement.name, "ok", found)
        else:
            yield Finding(requirement.name, "problem", f"{found} is too old. Run: pip install '{requirement}'")


def _devices() -> Iterator[Finding]:
    import torch  # heavy

    from xtremedistil_ner.processes.cores import available_cores
    from xtremedistil_ner.processes.precision import best_device, describe_device

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory
            yield Finding(f"gpu {index}", "ok", f"{torch.cuda.get_device_name(index)}, {memory / 1e9:.0f} GB")
    else:
        yield Finding("gpu", "warning", "none: runs work, and take long with a teacher of BERT's size.")
    yield Finding("precision", "ok", describe_device(best_device()))
    yield Finding("cores", "ok", f"{available_cores()}, of which torch uses {torch.get_num_threads()}")


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
