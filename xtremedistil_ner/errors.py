"""Every error that `xner` raises on purpose, with the exit code the command line gives it.

A message says what is wrong, where, and what to do. Anything that is not an `XnerError` is a defect of this
package and keeps its traceback. `docs/errors.md` draws the tree; a test compares the two.
"""

from __future__ import annotations

import errno
import os
import re
from typing import ClassVar

from xtremedistil_ner.addresses import text_without_secrets

_FULL = "Free some space and run the same command again; finished work is kept."
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "Raise the limit on the size of files (`ulimit -f`) and run the same command again.",
    errno.EACCES: "Change its permissions, or give another path.",
    errno.EPERM: "Change its permissions, or give another path.",
    errno.EROFS: "Give a path that can be written.",
    errno.ENOTDIR: "There is a file where a folder belongs. Move it away, or give another path.",
    errno.EISDIR: "There is a folder where a file belongs. Move it away, or give another path.",
    errno.EMFILE: "Raise the limit on open files (`ulimit -n`).",
    errno.ENOMEM: "Free some memory, or lower the batch sizes.",
}
_EXTRAS = {
    "accelerate": "distil",
    "datasets": "distil",
    "fsspec": "distil",
    "huggingface_hub": "distil",
    "jinja2": "distil",
    "onnx": "distil",
    "psutil": "distil",
    "pyarrow": "distil",
    "ruamel": "distil",
    "safetensors": "distil",
    "sentencepiece": "distil",
    "torch": "distil",
    "transformers": "distil",
    "fastapi": "serve",
    "httptools": "serve",
    "prometheus_client": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "uvloop": "serve",
    "spacy": "spacy",
}
"""The extra of `pyproject.toml` that installs a module; a test compares the two."""
_MOST_QUOTED = 80
_MOST_READ = 2000  # not fewer: an address that is cut before its end may show a part of its secret


def first_line(error: BaseException) -> str:
    """The first line of a library's error, without its full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def quoted(value: object) -> str:
    """A foreign value for a message: its `repr`, at most 80 characters, without secrets."""
    if isinstance(value, int) and abs(value) >= 10**_MOST_QUOTED:  # Python refuses to print 5,000 digits
        return "a number of more than 80 digits"
    text = text_without_secrets(repr(value[:_MOST_READ] if isinstance(value, str) else value))
    if len(text) <= _MOST_QUOTED + 2:
        return text
    return f"{text[: _MOST_QUOTED + 1]}{text[-1] if isinstance(value, str) else ''}…"


class XnerError(Exception):
    """Root of the tree; never raised itself. URLs in a message lose user information and query."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(text_without_secrets(message))


class UsageError(XnerError):
    """Wrong use of the command line or of a public function."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be read: unknown keys, wrong types, impossible combinations."""


class CorpusError(XnerError):
    """Bad data: a broken line, invalid UTF-8, an unknown tag, a missing split."""

    exit_code = 3


class ArtefactError(XnerError):
    """A model, store or checkpoint that is missing, incomplete, corrupt or does not fit."""

    exit_code = 4


class ModelError(ArtefactError):
    """A model folder with missing or unexpected weights, or with labels other than the scheme's."""


class StoreError(ArtefactError):
    """A soft-label store that is incomplete, corrupt or made by another teacher."""


class CheckpointError(ArtefactError):
    """A training checkpoint that is corrupt or belongs to another job."""


class ResourceError(XnerError):
    """Memory, disk, device, network, or a run folder that another process is writing."""

    exit_code = 5


class CheckFailed(XnerError):
    """`xner report --check`: the student may not be shipped, it is undecided, or it is worse than the baseline."""

    exit_code = 6


class Interrupted(XnerError):
    """Stopped by SIGINT or SIGTERM; the state of a run was saved, and the same command continues it."""

    exit_code = 130


_LACKS_OF_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""In errors of torch's that have no class of their own: a CPU's, a driver's, those of cuBLAS and cuDNN."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whichever device: a smaller batch may fit."""
    says_so = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LACKS_OF_MEMORY)
    return says_so or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def lack_of_resource(error: BaseException) -> ResourceError | None:
    """The error for a user that an error of the operating system or of memory means, whichever library raised it.

    None for any other error, which is a defect.
    """
    if is_lack_of_memory(error):
        return ResourceError(f"Out of memory: {first_line(error)}. Lower the batch sizes of the recipe.")
    number = _error_number(error)
    if number is None:
        return None
    path = getattr(error, "filename2", None) or getattr(error, "filename", None)
    prefix = f"{os.fsdecode(path)}: " if isinstance(path, str | bytes | os.PathLike) else ""
    return ResourceError(f"{prefix}{os.strerror(number)}. {_REMEDIES.get(number, '')}".rstrip())


def lack_of_extra(error: BaseException, command: str) -> UsageError | None:
    """The error for a user of `command`, such as `distil`, that a missing module means, if an extra installs it.

    None for any other error, which is a defect.
    """
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module not in _EXTRAS:
        return None
    return UsageError(f"{command} needs {module}. Install it with: pip install 'xtremedistil-ner[{_EXTRAS[module]}]'")


def _error_number(error: BaseException) -> int | None:
    """The number of an operating system's error; libraries in Rust have it only in the text, numpy not at all."""
    if isinstance(error, OSError):
        short_write = re.fullmatch(r"\d+ requested and \d+ written", str(error.args[0] if error.args else ""))
        return errno.ENOSPC if short_write else error.errno
    written = re.search(r"\(os error (\d+)\)", str(error))
    return int(written[1]) if written else None
