"""Lines of a text file, plain or compressed, in strict UTF-8.

A line ends at a line feed and nowhere else (`str.splitlines` also cuts at U+0085 and U+2028, which are characters of
words here). Lines are decoded one by one, so that an error can name its line and column; that costs 0.2 µs a line.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from xtremedistil_ner.errors import CorpusError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

COMPRESSIONS = ("", ".gz", ".xz", ".bz2", ".zst")
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zstandard.ZstdError)


def open_text(path: Path) -> Iterator[str]:
    """Lines of a text file without their line ends; the file name says how it is compressed.

    Raises: CorpusError for a missing or damaged file, and `file:line:column` for invalid UTF-8.
    """
    for number, raw in enumerate(open_raw(path), start=1):
        yield decode_line(raw, path, number)


def open_raw(path: Path) -> Iterator[bytes]:
    """Undecoded lines of a text file, with their line feeds.

    Raises: CorpusError for a missing or damaged file.
    """
    try:
        with _open_binary(path) as stream:
            yield from stream
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CorpusError(f"{path}: no such file. Give a text file.") from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # bz2 reports bad data so
            raise _damaged(path, error) from error
        raise CorpusError(f"{path}: cannot be read: {error.strerror}.") from error


def decode_line(raw: bytes, path: Path, number: int) -> str:
    """One line as text, without its line end; the first line also loses a byte order mark.

    Raises: CorpusError naming `path`, the line `number` and the column of the first byte that is not UTF-8.
    """
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode("utf-8")) + 1
        raise CorpusError(
            f"{path}:{number}:{column}: byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        ) from error
    if number == 1:
        line = line.removeprefix("\ufeff")
    if line.endswith("\n"):
        line = line[:-2] if line.endswith("\r\n") else line[:-1]
    return line


def _open_binary(path: Path) -> BinaryIO:
    # A second buffer makes reading line by line several times faster: GzipFile.readline is Python.
    match path.suffix:
        case ".gz":
            return cast("BinaryIO", io.BufferedReader(gzip.open(path)))
        case ".xz":
            return cast("BinaryIO", io.BufferedReader(lzma.open(path)))
        case ".bz2":
            return cast("BinaryIO", io.BufferedReader(bz2.open(path)))
        case ".zst":
            return cast("BinaryIO", io.BufferedReader(_ZstandardFile(path)))
        case _:
            return path.open("rb")


class _ZstandardFile(io.RawIOBase):
    """Decompressed bytes of a .zst file of one or more frames.

    The package's own stream reader takes a file that is cut short for a shorter one; this one raises EOFError.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._unread = b""

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
        packed = packed or self._file.read(io.DEFAULT_BUFFER_SIZE)
        if self._frame.eof and packed:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        if not packed and not self._frame.eof:
            raise EOFError("the last frame has no end")
        self._unread = self._frame.decompress(packed) if packed else b""
        return bool(packed)


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: damaged or cut short ({error}). Fetch the file again.")
