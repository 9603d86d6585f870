"""Lines of a text file, plain or compressed, in strict UTF-8.

A line ends at a line feed and nowhere else (`str.splitlines` also cuts at U+0085 and U+2028, which are characters of
words here). Lines are decoded one by one, so that an error can name its line and column; that costs 0.2 µs a line.
A line has at most 1 MiB, and a compressed file expands at most 300 times, so that a small file cannot fill the memory.
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
    import zstandard
    from _typeshed import WriteableBuffer as Buffer

COMPRESSIONS = ("", ".gz", ".xz", ".bz2", ".zst")
LONGEST_LINE_BYTES = 1 << 20
_MOST_EXPANSION = 300
"""Text expands 3 to 30 times; a file of nothing but one repeated sentence some 250 times with gzip."""
_SMALL_BYTES = 1 << 22
"""Of sentences of one word, 4 MiB take 170 MB of memory."""
_ZSTANDARD_BYTES = 256
"""Read at once: four bytes may stand for 128 KiB."""
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def open_text(path: Path) -> Iterator[str]:
    """Lines of a text file without their line ends; the file name says how it is compressed.

    Raises: CorpusError for a missing or damaged file, and `file:line:column` for invalid UTF-8.
    """
    for number, raw in enumerate(open_raw(path), start=1):
        yield decode_line(raw, path, number)


def open_raw(path: Path) -> Iterator[bytes]:
    """Undecoded lines of a text file, with their line feeds; of a line that is too long its beginning.

    Raises: CorpusError for a missing or damaged file, and for one that expands to hundreds of times its size.
    """
    with _opened(path) as stream:
        yield from read_lines(stream)


def read_whole(path: Path) -> str:
    """The text of a file as it stands, with its byte order mark and its line ends, however long its lines are.

    Raises: as `open_text`.
    """
    with _opened(path) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        raise _not_utf8(path, before.count(b"\n") + 1, column, data[error.start]) from error


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Undecoded lines of a stream, with their line feeds; of a line that is too long its beginning."""
    read = partial(stream.readline, LONGEST_LINE_BYTES + 1)
    for line in iter(read, b""):
        yield line
        while len(line) > LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            line = read()


def decode_line(raw: bytes, path: Path, number: int) -> str:
    """One line as text, without its line end; the first line also loses a byte order mark.

    Raises: CorpusError naming `path`, the line `number` and the column of the first byte that is not UTF-8; for a line
    of more than 1 MiB.
    """
    if len(raw) > LONGEST_LINE_BYTES:
        raise CorpusError(f"{path}:{number}: this line is longer than 1 MiB. Cut it into several lines.")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode("utf-8")) + 1
        raise _not_utf8(path, number, column, raw[error.start]) from error
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
        if error.errno is None:  # bz2 reports bad data so
            raise _damaged(path, error) from error
        raise CorpusError(f"{path}: cannot be read: {error.strerror}.") from error


def _not_utf8(path: Path, number: int, column: int, byte: int) -> CorpusError:
    return CorpusError(f"{path}:{number}:{column}: byte 0x{byte:02x} is not UTF-8. Save the file as UTF-8.")


def _open_binary(path: Path) -> BinaryIO:
    openers: dict[str, Callable[[Path], io.BufferedIOBase | io.RawIOBase]] = {
        ".gz": gzip.GzipFile,
        ".xz": lzma.LZMAFile,
        ".bz2": bz2.BZ2File,
        ".zst": _ZstandardFile,
    }
    opener = openers.get(path.suffix)
    # A second buffer makes reading line by line several times faster: GzipFile.readline is Python.
    return path.open("rb") if opener is None else io.BufferedReader(_ExpandedFile(opener(path), path))


class _ExpandedFile(io.RawIOBase):
    """Decompressed bytes of a file, as long as they are not absurdly more than it has."""

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
                f"{self._path}: it expands to more than {_MOST_EXPANSION} times its size, which text never does. "
                "Decompress it yourself if it is what you want."
            )
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


class _ZstandardFile(io.RawIOBase):
    """Decompressed bytes of a .zst file of one or more frames.

    The package's own stream reader takes a file that is cut short for a shorter one; this one raises EOFError.
    """

    def __init__(self, path: Path) -> None:
        import zstandard  # of an extra

        self._zstandard = zstandard
        self._file = path.open("rb")
        self._frame = self._new_frame()
        self._unread = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        while not self._unread and self._decompress():
            pass
        piece, self._unread = self._unread[: len(target)], self._unread[len(target) :]
        target[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _decompress(self) -> bool:
        """Fill `_unread` from the next chunk of the file; False at its end."""
        packed = self._frame.unused_data if self._frame.eof else b""
        packed = packed or self._file.read(_ZSTANDARD_BYTES)
        if self._frame.eof and packed:
            self._frame = self._new_frame()
        if not packed and not self._frame.eof:
            raise EOFError("the last frame has no end")
        try:
            self._unread = memoryview(self._frame.decompress(packed) if packed else b"")
        except self._zstandard.ZstdError as error:
            raise EOFError(str(error)) from error
        return bool(packed)

    def _new_frame(self) -> zstandard.ZstdDecompressionObj:
        return self._zstandard.ZstdDecompressor().decompressobj()


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: damaged or cut short ({error}). Fetch the file again.")
