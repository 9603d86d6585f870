"""Piece 7: a real result. An encoder as large as the time allows is trained on the text, fine-tuned and distilled.

The shape and its updates are chosen once, from rates that are measured here; then `xner distil folder-scratch` runs,
and is stopped when the piece's time is over. The next call goes on from there, and the last one brings scores.
"""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.gpu.demo import scores_of, start, timings_of
from benchmarks.gpu.record import Place, Record
from benchmarks.gpu.stages import StopWatch, arguments_of, is_update, run, small_corpus

_BUDGET_S = 1200.0
"""For masked pieces and fine-tuning together, over all calls."""
_BATCH, _EPOCHS = 128, 3
_SHAPES = ((12, 768, 12), (8, 512, 8), (6, 384, 6), (4, 256, 4))
"""Layers, width and heads of an encoder."""
_TO_SAVE_S = 60.0


def real(place: Place, record: Record) -> None:
    """Everything of piece 7."""
    folder = place.work / f"real-{place.device}"
    chosen = folder.with_suffix(".json")
    if not chosen.exists():
        chosen.write_text(json.dumps(_choose(place, record)), encoding="utf-8")
    settings = json.loads(chosen.read_text(encoding="utf-8"))
    options = [part for field in arguments_of(settings) for part in ("--set", field)]
    process = start("distil", "folder-scratch", "--langs", "all", "--out", str(folder), "--until", "evaluate", *options)
    try:
        _, messages = process.communicate(timeout=max(record.left() - _TO_SAVE_S, 1))
    except subprocess.TimeoutExpired:
        process.terminate()
        _, messages = process.communicate()
    record.add(what="xner distil folder-scratch", code=process.returncode, message=messages.strip()[-300:])
    for stage, seconds in timings_of(folder).items():
        record.add(what=stage, found=seconds, unit="s")
    if process.returncode == 0:
        shutil.copyfile(folder / "report.md", place.out / "real-report.md")
        for row in scores_of(folder):
            record.add(**row)


def _choose(place: Place, record: Record) -> dict[str, Any]:
    """Recipe fields: the largest shape that sees as many masked batches as gold ones in the time that there is."""
    common: dict[str, Any] = {
        "corpus.path": place.data / "corpus",
        "transfer.path": place.data / "text",
        "teacher.shape.vocabulary": place.data / "vocab.txt",
        "teacher.shape.min_piece_count": 20 if place.on_gpu else 1,
        "finetune.batch_sentences": _BATCH,
        "finetune.masked_language_model.batch_sentences": _BATCH,
        "finetune.epochs": _EPOCHS if place.on_gpu else 1,
        "train.strategy": "D1",
        "train.updates": 4000 if place.on_gpu else 20,
        "train.micro_batch_pieces": 65_536,
        "evaluate.bootstrap": 0,
    }
    gold = _count_sentences(place) * _EPOCHS // _BATCH
    budget = _BUDGET_S if place.on_gpu else 5.0
    for layers, width, heads in _SHAPES if place.on_gpu else ((1, 64, 2),):
        shape = {"layers": layers, "hidden_width": width, "heads": heads}
        fields = {**common, **{f"teacher.shape.{name}": value for name, value in shape.items()}}
        seconds = _seconds_of_update(place, fields)
        updates = max(int(budget / seconds) - gold, 0)
        record.add(what=f"masked pieces, {layers} x {width}", **{"updates/s": 1 / seconds, "masked": updates})
        if updates >= gold:
            break
    fields["finetune.masked_language_model.updates"] = max(updates, 10)
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


def _seconds_of_update(place: Place, fields: dict[str, Any]) -> float:
    watch = StopWatch(place, is_update, window=16 if place.on_gpu else 2)
    more = {
        "corpus.path": small_corpus(place, languages=8 if place.on_gpu else 1),
        "transfer.sentences": 1500,
        "finetune.masked_language_model.updates": 1000,
    }
    settings = {"teacher.checkpoint": None, "student.vocabulary": None, **fields, **more}
    run(place, settings, watch, until="finetune")
    return watch.median("masked pieces")


def _count_sentences(place: Place) -> int:
    texts = (lzma.open(path, "rt", encoding="utf-8") for path in place.data.glob("corpus/*/train.tsv.xz"))
    return sum(line == "\n" for text in texts for line in text)
