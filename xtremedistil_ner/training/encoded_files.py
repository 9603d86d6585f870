"""Encoded text on disk: written once in chunks and then memory-mapped, so that it may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from xtremedistil_ner.pieces.encoder import EncodedCorpus, PieceEncoder
from xtremedistil_ner.run_folder.artefacts import publish, published_fingerprint, verify

_OFFSETS = {"piece_offsets", "word_offsets", "sentence_words"}


def encode_to_folder(
    encoder: PieceEncoder, chunks: Iterable[Sequence[Sequence[str]]], folder: Path, *, fingerprint: str
) -> None:
    """Encode chunks of sentences and publish the rows as a folder of `.npy` files, unless it is there already."""
    if published_fingerprint(folder) == fingerprint:
        return
    names = [field.name for field in fields(EncodedCorpus)]
    with publish(folder, {"fingerprint": fingerprint}) as temporary:
        writers = {name: _GrowingArray(temporary / f"{name}.npy") for name in names}
        ends = dict.fromkeys(_OFFSETS, 0)
        n_sentences = 0
        for name in _OFFSETS:
            writers[name].append(np.zeros(1, dtype=np.int64))
        for chunk in chunks:
            encoded = encoder.encode(chunk)
            for name in names:
                array = np.asarray(getattr(encoded, name))
                if name in _OFFSETS:
                    array = array[1:] + ends[name]
                    ends[name] = int(array[-1]) if len(array) else ends[name]
                elif name == "sentence":
                    array = array + n_sentences
                writers[name].append(array)
            n_sentences += len(chunk)
        for writer in writers.values():
            writer.close()


def open_encoded(folder: Path) -> EncodedCorpus:
    """Open a folder written by `encode_to_folder`, memory-mapped.

    Raises: ArtefactError naming a file that differs from what was written.
    """
    verify(folder)
    arrays: dict[str, Any] = {}
    for field in fields(EncodedCorpus):
        # a plain array over the map: indexing a memmap takes 1.7 times as long for 60 rows
        arrays[field.name] = np.asarray(np.load(folder / f"{field.name}.npy", mmap_mode="r", allow_pickle=False))
    return EncodedCorpus(**arrays)


class _GrowingArray:
    """An `.npy` file that grows along its only axis; its header has space for the final length."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._dtype: np.dtype[Any] | None = None
        self._length = 0

    def append(self, array: NDArray[Any]) -> None:
        if self._dtype is None:
            self._dtype = array.dtype
            self._write_header()
        self._stream.write(array.astype(self._dtype).tobytes())
        self._length += len(array)

    def close(self) -> None:
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def _write_header(self) -> None:
        description = npy.dtype_to_descr(self._dtype or np.dtype(np.int64))
        npy.write_array_header_1_0(
            self._stream, {"descr": description, "fortran_order": False, "shape": (self._length,)}
        )
