"""Values computed from a file's bytes, remembered while the file does not change.

A run asks for the same hashes hundreds of times, because the transfer set of each language depends on all held-out
files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from xtremedistil_ner.run_folder.whole_files import sha256_file

_Value = TypeVar("_Value")
_SETTLED_S = 2.0
"""A file may change twice without a change of size or time, because file systems store times in coarse steps."""


def once_per_file(function: Callable[[Path], _Value]) -> Callable[[Path], _Value]:
    """Make a function of a file's content remember its value until size or time of the file change."""

    @lru_cache(maxsize=4096)
    def remembered(path: Path, size: int, time_ns: int) -> _Value:
        return function(path)

    @wraps(function)
    def look_up(path: Path) -> _Value:
        status = path.stat()
        if time.time() - status.st_mtime < _SETTLED_S:
            return function(path)
        return remembered(path, status.st_size, status.st_mtime_ns)

    return look_up


file_hash = once_per_file(sha256_file)
