"""A vocabulary that is made from text before training: once, by the main process, and read by all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xtremedistil_ner.pieces.vocabulary import read_vocabulary
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.run_folder.artefacts import publish, published_fingerprint


def make_vocabulary_once(
    folder: Path, make: Callable[[], Sequence[str]], *, fingerprint: str, processes: Processes
) -> Sequence[str]:
    """Have the main process make a vocabulary and publish it in a folder, unless it is there already, and read it."""
    path = folder / "vocab.txt"
    if processes.is_main and published_fingerprint(folder) != fingerprint:
        pieces = make()
        with publish(folder, {"fingerprint": fingerprint}) as temporary:
            (temporary / path.name).write_text("\n".join(pieces) + "\n", encoding="utf-8")
    processes.barrier()
    return read_vocabulary(path)
