"""Where on this machine the text is that a recipe's path means: the built-in demo, a folder, the files of a URL.

Files of a URL are fetched once through fsspec, kept in a cache, and read like a folder from there. A file is fetched
again when its address says that it changed (`ukey` of fsspec, ETag and date of a web server). A process looks at a URL
once, so that it reads the same text throughout. Messages have URLs without passwords and tokens.
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
_WEB_SERVERS_KEYS = ("size", "ETag", "Content-MD5", "Last-Modified")


def demo_path() -> Path:
    """Folder of the demo corpus: labelled splits by language, and `<lang>.txt.bz2`. `data/README.md` has its making.

    Raises: ResourceError if the installation lacks it.
    """
    for place in _DEMO:
        if place.is_dir():
            return place
    raise ResourceError(f"{_DEMO[0]}: the demo corpus is missing. Install the package again.")


def local_folder(path: str, needed: Callable[[str], bool]) -> Path:
    """The folder that a path means: `demo`, a folder, or a URL, of which the `needed` files are fetched.

    Raises: as `mirror_folder`; a folder of this machine need not be there.
    """
    if path == "demo":
        return demo_path()
    return mirror_folder(path, needed) if is_url(path) else Path(path)


def is_url(path: str) -> bool:
    """Whether a path is a URL such as `s3://bucket/corpus`."""
    return "://" in path


@lru_cache(maxsize=64)
def mirror_folder(url: str, needed: Callable[[str], bool]) -> Path:
    """Local copy of those files of a remote folder whose relative path is `needed`.

    Raises: CorpusError if there is no such folder; ResourceError if it cannot be reached.
    """
    with _border(url):
        filesystem, root = _open(url)
        if _is_local(filesystem):
            return Path(root)
        folder = _place(url)
        found = ((path.removeprefix(root).lstrip("/"), path) for path in _files(filesystem, root))
        wanted = {name: path for name, path in found if needed(name)}
        for name, path in wanted.items():
            _fetch(filesystem, path, folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        for file in [file for file in folder.rglob("*") if file.is_file()]:
            name = file.relative_to(folder).as_posix()
            if needed(name) and name not in wanted:
                file.unlink()
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
        target = _place(url) / file_name(url)
        _fetch(filesystem, path, target)
    return target


def file_name(path: str) -> str:
    """The last part of a path or URL, which says what a file is; a URL's query is no part of it."""
    return (without_secrets(path) if is_url(path) else path).rpartition("/")[2]


def cache_folder() -> Path:
    """Where mirrors are kept: `$XDG_CACHE_HOME/xner/mirrors`, or `~/.cache/xner/mirrors`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "xner" / "mirrors"


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    filesystem, root = url_to_fs(url.rstrip("/"))
    return filesystem, root.rstrip("/")


def _files(filesystem: Any, root: str, depth: int = 3) -> Iterator[str]:  # noqa: ANN401
    """Files of a folder and of its folders, `depth` deep; `find` would leave out what it fails to list."""
    for entry in filesystem.ls(root, detail=True):
        if entry["type"] != "directory":
            yield entry["name"]
        elif depth > 1:
            yield from _files(filesystem, entry["name"], depth - 1)


def _is_local(filesystem: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def _place(url: str) -> Path:
    return cache_folder() / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


def _fetch(filesystem: Any, path: str, target: Path) -> None:  # noqa: ANN401
    """Copy a file unless the copy is of the same state; it appears whole or not at all."""
    about = filesystem.info(path)
    state = hashlib.sha256(
        repr([filesystem.ukey(path), *(about.get(key) for key in _WEB_SERVERS_KEYS)]).encode()
    ).hexdigest()
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
    """Say in our terms what a remote file system says in its own: every protocol raises errors of its library."""
    try:
        yield
    except XnerError:
        raise
    except Exception as error:
        # what a library says of an address with a password may have the password in any form
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
    what = ": ".join(str(part) for part in (type(error).__name__, reason) if part)
    refused = status in (401, 403) or isinstance(error, PermissionError)
    return ResourceError(
        f"{shown}: cannot be fetched ({what}). Check the address, the network and the disk, or fetch the files "
        "yourself and give their folder."
        + (" A run folder keeps no password and no token of an address: give it again with --set." if refused else "")
    )
