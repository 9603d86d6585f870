"""Piece 6: what a batch that does not fit into memory ends with, and that a smaller one goes on."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.gpu.record import Place, Record
from benchmarks.gpu.speed import STUDENTS, labelled_run
from benchmarks.gpu.stages import arguments_of, settings_of

_CAPPED = """
import sys, torch
if torch.cuda.is_available():
    torch.cuda.set_per_process_memory_fraction(float(sys.argv.pop(1)) * 1e9 / torch.cuda.mem_get_info()[1])
else:
    import resource
    limit = int(float(sys.argv.pop(1)) * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from xtremedistil_ner.__main__ import main
main()
"""
"""`xner` with so many gigabytes of device memory; on CPU, of address space."""


def memory(place: Place, record: Record) -> None:
    """Everything of piece 6. The rows of pieces 3 to 5 have the memory of what fits."""
    base = labelled_run(place)
    settings = {
        **settings_of(place, languages=8 if place.on_gpu else 1),
        **STUDENTS["BiLSTM (300, 600)"],
        "student.embeddings": "random",
        "train.updates": 10,
    }
    capacity = 4.0 if place.on_gpu else 8.0
    for stage, large in (
        ("pseudolabel", {"pseudolabel.batch_pieces": 4_000_000}),
        ("train", {"train.batch_sentences": 20_000, "train.micro_batch_pieces": 4_000_000}),
    ):
        for what, fields in (("too large a batch", large), ("the recipe's batch", {})):
            name = f"{stage}, {what}, {capacity:.0f} GB"
            with record.guarded(what=name):
                code, message = _capped(capacity, place, {**settings, **fields}, stage=stage, base=str(base))
                record.add(what=name, code=code, message=message)


def _capped(gigabytes: float, place: Place, settings: dict[str, object], *, stage: str, base: str) -> tuple[int, str]:
    """Exit code and last words of a command that has so much memory."""
    out = place.work / f"capped-{stage}"
    options = [part for field in arguments_of(settings) for part in ("--set", field)]
    command = [sys.executable, "-c", _CAPPED, str(gigabytes), "distil", "folder", "--until", stage, "--from", base]
    done = subprocess.run([*command, "--out", str(out), *options], capture_output=True, text=True, check=False)
    return done.returncode, " / ".join(done.stderr.strip().splitlines()[-2:])[-300:]
