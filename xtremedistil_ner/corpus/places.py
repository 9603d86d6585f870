"""The local folder or file that a recipe's path names: the built-in demo, a folder, or a cached copy of a URL.

Files at a URL are fetched once through fsspec and kept in a cache, which is read like any folder. A file is fetched
again when the server says that it changed. fsspec's own `filecache` cannot do this: its keys for a web server leave out
ETag and date, so it misses changes, and it stores files under other names, but a corpus is read by the names of its
files. A process lists a URL once, so that it reads the same text throughout. Messages show URLs without passwords and
tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.errors import CorpusError, ResourceError, XnerError, first_line

_PACKAGE = Path(__file__).resolve().parent.parent
_DEMO = (_PACKAGE / "_data" / "demo", _PACKAGE.parent / "data" / "demo")  # in a wheel, in a checkout
_DEPTH = 3
_VERSION_KEYS = ("size", "ETag", "Content-MD5", "Last-Modified")
"""What a web server says of the state of a file; other protocols have it in fsspec's `ukey`."""


def demo_path() -> Path:
    """Folder of the demo corpus: labelled splits by language, and `<lang>.txt.bz2`; `data/README.md` describes it.

    Raises: ResourceError if the installation lacks it.
    """
    for folder in _DEMO:
        if folder.is_dir():
            return folder
    raise ResourceError(f"{_DEMO[0]}: the demo corpus is missing. Install the package again.")


def local_folder(path: str, needed: Callable[[str], bool]) -> Path:
    """The folder that a path names: `demo`, a folder, or a URL, from which the `needed` files are fetched.

    Raises: as `mirror_folder`. A local folder need not exist.
    """
    if path == "demo":
        return demo_path()
    return mirror_folder(path, needed) if is_url(path) else Path(path)


def is_url(path: str) -> bool:
    """Whether a path is a URL such as `s3://bucket/corpus`."""
    return "://" in path


@lru_cache(maxsize=64)
def mirror_folder(url: str, needed: Callable[[str], bool]) -> Path:
    """Local copy of a remote folder, with only those files whose relative path is `needed`.

    Raises: CorpusError if there is no such folder; ResourceError if it cannot be reached.
    """
    with _border(url):
        filesystem, root = _open(url)
        if _is_local(filesystem):
            return Path(root)
        folder = _mirror_of(url)
        folder.mkdir(parents=True, exist_ok=True)
        levels = filesystem.walk(root, maxdepth=_DEPTH, detail=True, on_error="raise")
        paths = [entry["name"] for _, _, files in levels for entry in files.values()]
        remote = {path.removeprefix(root).lstrip("/"): path for path in paths}
        for name in filter(needed, remote):
            _fetch(filesystem, remote[name], folder / name)
        local = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
        for name in filter(needed, local.keys() - remote):
            local[name].unlink()
    return folder


@lru_cache(maxsize=64)
def mirror_file(url: str) -> Path:
    """Local copy of one remote file, under its own name.

    Raises: CorpusError if there is no such file; ResourceError if it cannot be reached.
    """
    with _border(url):
        filesystem, path = _open(url)
        if _is_local(filesystem):
            return Path(path)
        target = _mirror_of(url) / file_name(url)
        _fetch(filesystem, path, target)
    return target


def file_name(path: str) -> str:
    """The last part of a path or URL, without the query of a URL."""
    return (without_secrets(path) if is_url(path) else path).rpartition("/")[2]


def cache_folder() -> Path:
    """Where mirrors are kept: `$XDG_CACHE_HOME/xner/mirrors`, or `~/.cache/xner/mirrors`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "xner" / "mirrors"


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    filesystem, root = url_to_fs(url.rstrip("/"))
    return filesystem, root.rstrip("/")


def _is_local(filesystem: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def _mirror_of(url: str) -> Path:
    return cache_folder() / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


def _fetch(filesystem: Any, path: str, target: Path) -> None:  # noqa: ANN401
    """Copy a file, unless the copy has the same state already; it appears whole or not at all."""
    info = filesystem.info(path)
    version = repr([filesystem.ukey(path), *(info.get(key) for key in _VERSION_KEYS)])
    state = hashlib.sha256(version.encode()).hexdigest()
    note = target.with_name(f".{target.name}.state")
    if target.is_file() and note.is_file() and note.read_text(encoding="utf-8") == state:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        filesystem.get_file(path, str(partial))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    note.write_text(state, encoding="utf-8")


@contextlib.contextmanager
def _border(url: str) -> Iterator[None]:
    """Turn errors of a remote file system into ours: each protocol raises those of its library."""
    try:
        yield
    except XnerError:
        raise
    except Exception as error:
        # a library's message may repeat the password of an address, in any form
        raise _explain(url, error) from (error if without_secrets(url) == url else None)


def _explain(url: str, error: Exception) -> XnerError:
    shown = without_secrets(url)
    if isinstance(error, FileNotFoundError):
        return CorpusError(f"{shown}: no such file or folder. Check the address.")
    if isinstance(error, ImportError):
        return ResourceError(f"{shown}: {str(error).rstrip('.')}. Install what fsspec needs for this address.")
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return CorpusError(f"{shown}: unknown protocol. Give a folder, or a URL such as s3://bucket/corpus.")
    status = getattr(error, "status", None)  # aiohttp's, of an answer
    reason = first_line(error) if shown == url else status
    cause = ": ".join(str(part) for part in (type(error).__name__, reason) if part)
    refused = status in (401, 403) or isinstance(error, PermissionError)
    return ResourceError(
        f"{shown}: cannot be fetched ({cause}). Check the address, the network and the disk, or fetch the files "
        "yourself and give their folder."
        + (" A run folder keeps no password and no token of an address: give it again with --set." if refused else "")
    )
