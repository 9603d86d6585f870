"""Every error that `xner` raises on purpose, with the exit code the command line gives it.

A message says what is wrong, where, and what to do. Anything that is not an `XnerError` is a defect of this
package and keeps its traceback. `docs/errors.md` draws the tree; a test holds the two equal.
"""

from __future__ import annotations

from typing import ClassVar

from xtremedistil_ner.addresses import text_without_secrets


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough for a message of ours and without its full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


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


class Interrupted(XnerError):
    """Stopped by SIGINT or SIGTERM after the state was saved; the same command goes on."""

    exit_code = 130
