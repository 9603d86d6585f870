"""Lines of a text file, plain or compressed, in strict UTF-8.

A line ends only at a line feed (`str.splitlines` also cuts at U+0085 and U+2028, which belong to words here). Lines are
decoded one by one, so that an error can name its line and column; that costs 0.2 µs a line. A line may have 1 MiB, and
a compressed file may expand to 300 times its size, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from xtremedistil_ner.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow
    from _typeshed import WriteableBuffer as Buffer

COMPRESSIONS = ("", ".gz", ".xz", ".bz2", ".zst")
LONGEST_LINE_BYTES = 1 << 20
_MOST_EXPANSION = 300
"""Text expands to 3 to 30 times its size; one sentence repeated throughout, packed with gzip, to some 250 times."""
_SMALL_BYTES = 1 << 22
"""What every file may expand to. 4 MiB of one-word sentences take 170 MB of memory once they are read."""
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def open_text(path: Path) -> Iterator[str]:
    """Lines of a text file without their line ends; the ending of its name tells the compression.

    Raises: CorpusError for a missing or damaged file, and `file:line:column` for invalid UTF-8.
    """
    for number, raw in enumerate(open_raw(path), start=1):
        yield decode_line(raw, path, number)


def open_raw(path: Path) -> Iterator[bytes]:
    """Undecoded lines of a text file, with their line feeds; a line that is too long is cut off.

    Raises: CorpusError for a missing or damaged file, and for one that expands to more than 300 times its size.
    """
    with _opened(path) as stream:
        yield from read_lines(stream)


def read_whole(path: Path) -> str:
    """The unchanged text of a file, with its byte order mark and its line ends; lines may have any length.

    Raises: as `open_text`.
    """
    with _opened(path) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Undecoded lines of a stream, with their line feeds; a line that is too long is cut off."""
    read = partial(stream.readline, LONGEST_LINE_BYTES + 1)
    for line in iter(read, b""):
        yield line
        while len(line) > LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            line = read()


def decode_line(raw: bytes, path: Path, number: int) -> str:
    """One line as text, without its line end; the first line also loses its byte order mark.

    Raises: CorpusError that names `path`, the line `number` and the column of the first byte that is not UTF-8; also
    for a line of more than 1 MiB.
    """
    if len(raw) > LONGEST_LINE_BYTES:
        raise CorpusError(f"{path}:{number}: this line is longer than 1 MiB. Cut it into several lines.")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error, first_line=number) from error
    if number == 1:
        line = line.removeprefix("\ufeff")
    if line.endswith("\n"):
        line = line[:-2] if line.endswith("\r\n") else line[:-1]
    return line


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with _open_binary(path) as stream:
            yield stream
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CorpusError(f"{path}: no such file. Give a text file.") from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # bad data, as bz2 and pyarrow report it
            raise _damaged(path, error) from error
        raise CorpusError(f"{path}: cannot be read: {error.strerror}.") from error


def _not_utf8(path: Path, error: UnicodeDecodeError, *, first_line: int = 1) -> CorpusError:
    before = error.object[: error.start].decode("utf-8")
    line, column = first_line + before.count("\n"), len(before) - before.rfind("\n")
    byte = error.object[error.start]
    return CorpusError(f"{path}:{line}:{column}: byte 0x{byte:02x} is not UTF-8. Save the file as UTF-8.")


def _open_binary(path: Path) -> BinaryIO:
    openers: dict[str, Callable[[Path], io.BufferedIOBase | io.RawIOBase]] = {
        ".gz": gzip.GzipFile,
        ".xz": lzma.LZMAFile,
        ".bz2": bz2.BZ2File,
        ".zst": _open_zstandard,
    }
    opener = openers.get(path.suffix)
    # The second buffer makes reading by line several times faster, because GzipFile.readline is written in Python.
    return path.open("rb") if opener is None else io.BufferedReader(_ExpandedFile(opener(path), path))


class _ExpandedFile(io.RawIOBase):
    """Decompressed bytes of a file, up to a multiple of its size."""

    def __init__(self, inner: io.BufferedIOBase | io.RawIOBase, path: Path) -> None:
        self._inner, self._path = inner, path
        self._most_bytes = max(_SMALL_BYTES, _MOST_EXPANSION * path.stat().st_size)
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = self._inner.readinto(buffer) or 0
        self._bytes += count
        if self._bytes > self._most_bytes:
            raise CorpusError(
                f"{self._path}: expands to more than {_MOST_EXPANSION} times its size, which text never does. "
                "If it is the right file, decompress it yourself."
            )
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


def _open_zstandard(path: Path) -> pyarrow.NativeFile:
    import pyarrow  # unlike the package zstandard, it raises an error for a file that is cut short

    return pyarrow.CompressedInputStream(path.open("rb"), "zstd")


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: damaged or cut short ({error}). Fetch the file again.")
