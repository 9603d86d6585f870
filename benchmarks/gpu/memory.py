"""Piece 6: the device memory of each stage, and what a batch that does not fit ends with."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.gpu.record import Place, Record
from benchmarks.gpu.speed import STUDENTS, labelled_run, time_student
from benchmarks.gpu.stages import StopWatch, arguments_of, is_shard, run, settings_of

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
    """Everything of piece 6."""
    base = labelled_run(place)
    settings = settings_of(place, languages=8 if place.on_gpu else 1)
    for batch in (16_384, 65_536, 262_144) if place.on_gpu else (128,):
        with record.guarded(what="labels", pieces=batch):
            watch = StopWatch(place, is_shard, window=1, windows=1)
            fields = {"pseudolabel.batch_pieces": batch, "pseudolabel.shard_sentences": 2000 if place.on_gpu else 16}
            run(place, {**settings, **fields}, watch, until="pseudolabel", base=base)
            record.add(what="labels", pieces=batch, **watch.row("pseudolabel"))
    for name in ("BiLSTM (300, 600)", "transformer 4 x 256"):
        for sentences in (512, 4096) if place.on_gpu else (16,):
            more = {"train.batch_sentences": sentences, "train.micro_batch_pieces": 32 * sentences}
            with record.guarded(what=name, pieces=32 * sentences):
                for row in time_student(place, base, STUDENTS[name], strategy="D4.1", loss="mse", **more):
                    record.add(what=name, pieces=32 * sentences, **row)
    capacity = 2.5 if place.on_gpu else 8.0
    for stage, large, small in (
        ("pseudolabel", {"pseudolabel.batch_pieces": 4_000_000}, {"pseudolabel.batch_pieces": 4096}),
        ("train", {"train.batch_sentences": 20_000, "train.micro_batch_pieces": 4_000_000}, {"train.updates": 10}),
    ):
        for what, fields in (("does not fit", large), ("fits", small)):
            with record.guarded(what=f"{stage}, {what} into {capacity} GB"):
                more = {**settings, **STUDENTS["BiLSTM (300, 600)"], "student.embeddings": "random", **fields}
                code, message = _capped(capacity, place, more, stage=stage, base=str(base))
                record.add(what=f"{stage}, {what} into {capacity} GB", code=code, message=message)


def _capped(gigabytes: float, place: Place, settings: dict[str, object], *, stage: str, base: str) -> tuple[int, str]:
    """Exit code and last words of a command that has so much memory."""
    out = place.work / f"capped-{stage}"
    options = [part for field in arguments_of(settings) for part in ("--set", field)]
    command = [sys.executable, "-c", _CAPPED, str(gigabytes), "distil", "folder", "--until", stage, "--from", base]
    done = subprocess.run([*command, "--out", str(out), *options], capture_output=True, text=True, check=False)
    return done.returncode, " / ".join(done.stderr.strip().splitlines()[-2:])[-300:]
