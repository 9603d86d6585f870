"""Piece 2: the built-in demo in two precisions, stopped and killed runs, and the tests that speak of devices."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import Place, Record
from xtremedistil_ner.run_folder.files import RunFolder, read_timings

ROOT = Path(__file__).resolve().parents[2]
_SMALL = (
    *("corpus.languages=[de, en]", "corpus.train_sentences=40", "transfer.sentences=60", "teacher.shape.layers=1"),
    *("teacher.shape.hidden_width=32", "teacher.shape.vocabulary_size=400", "student.embedding_width=8"),
    *("train.updates=60", "train.batch_sentences=16", "train.evaluate_every=20"),
)
"""What makes the demo a rehearsal on CPU."""
_COMPARED = ("teacher/model.safetensors", "soft_labels/*/logits.npy", "student/model.safetensors")


def demo(place: Place, record: Record) -> None:
    """Everything of piece 2."""
    with record.guarded(what="automatic precision"):
        _scored_run(place, record, "auto")
        _interrupted_run(place, record)
    with record.guarded(what="float32"):
        _scored_run(place, record, "float32")
    with record.guarded(what="tests that speak of devices"):
        record.add(what="tests that speak of devices", found=_tests(record.left()))


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `xner` with its output on a pipe."""
    command = [sys.executable, "-m", "xtremedistil_ner", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def _start_demo(place: Place, out: Path, precision: str, *, until: str) -> subprocess.Popen[str]:
    fields = [f"{stage}.precision={precision}" for stage in ("finetune", "pseudolabel", "train")]
    fields += ["train.checkpoint_every_s=0.2", "evaluate.baselines=false", "evaluate.bootstrap=0"]
    fields += () if place.on_gpu else _SMALL
    options = [part for field in fields for part in ("--set", field)]
    languages = () if not place.on_gpu else ("--langs", "all")
    return start("distil", "demo", "--out", str(out), "--until", until, *languages, *options)


def _require_success(process: subprocess.Popen[str]) -> None:
    _, messages = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {messages.strip()[-300:]}")


def _scored_run(place: Place, record: Record, precision: str) -> None:
    out = place.work / f"demo-{precision}"
    shutil.rmtree(out, ignore_errors=True)
    _require_success(_start_demo(place, out, precision, until="evaluate"))
    for row in scores_of(out):
        record.add(precision=precision, **row)
    for stage, seconds in timings_of(out).items():
        record.add(precision=precision, what=stage, found=seconds, unit="s")


def scores_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows with the macro-F1 of every model of a run's report."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for name, entry in report["models"].items():
        if entry["macro_f1"] is not None:
            yield {"what": name, "found": 100 * entry["macro_f1"], "unit": "macro-F1"}


def timings_of(folder: Path) -> dict[str, float]:
    """Seconds of every stage of a run that was done."""
    return {stage: entry["seconds"] for stage, entry in read_timings(RunFolder(folder)).items()}


def _interrupted_run(place: Place, record: Record) -> None:
    """Stop a run while it fine-tunes, kill it while it trains, let it end; its bytes against the undisturbed run."""
    whole, out = place.work / "demo-auto", place.work / "demo-killed"
    shutil.rmtree(out, ignore_errors=True)
    finetuning = timings_of(whole)["finetune"]
    process = _start_demo(place, out, "auto", until="train")
    _wait(process, lambda: (out / "work" / "finetune" / "vocabulary").exists())
    time.sleep(finetuning / 6)
    process.terminate()
    process.communicate()
    record.add(what="SIGTERM while fine-tuning", found=f"exit code {process.returncode}, teacher {_state(out)}")
    process = _start_demo(place, out, "auto", until="train")
    _wait(process, lambda: any((out / "work" / "train" / "checkpoints").glob("[!.]*-*")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    record.add(what="kill -9 while training", found=f"exit code {process.returncode}, student {_state(out, 'student')}")
    _require_success(_start_demo(place, out, "auto", until="train"))
    equal = _compare(record, "stopped and killed", whole, out)
    if not equal:  # is it the kill, or does no run repeat?
        again = place.work / "demo-again"
        shutil.rmtree(again, ignore_errors=True)
        _require_success(_start_demo(place, again, "auto", until="train"))
        _compare(record, "undisturbed, a second time", whole, again)


def _wait(process: subprocess.Popen[str], is_there: Callable[[], bool]) -> None:
    while not is_there():
        if process.poll() is not None:
            raise RuntimeError(f"ended before it could be stopped: {process.communicate()[1].strip()[-300:]}")
        time.sleep(0.005)


def _state(out: Path, artefact: str = "teacher") -> str:
    return "finished already" if (out / artefact).exists() else "unfinished"


def _compare(record: Record, what: str, whole: Path, other: Path) -> bool:
    found = {pattern.partition("/")[0]: _hash(whole, pattern) == _hash(other, pattern) for pattern in _COMPARED}
    for name, is_equal in found.items():
        record.add(what=f"{what}: {name}", found="same bytes" if is_equal else "other bytes")
    return all(found.values())


def _hash(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _tests(seconds: float) -> str:
    """How many tests of files that speak of devices passed; warnings of other versions are no failures."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if re.search("cuda|device", path.read_text("utf-8"))]
    files = [path for path in files if path.parent.name not in ("commands", "browser", "benchmarks", "tests")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    options = ["-o", "filterwarnings=default", "-k", "device or cuda or bf16"]
    done = subprocess.run(
        [*command, *options, *map(str, sorted(files))], cwd=ROOT, capture_output=True, text=True, timeout=seconds
    )
    failures = [line.partition(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    said = (done.stdout.strip() or done.stderr.strip() or "no word").splitlines()
    return "; ".join([said[-1], *failures])
