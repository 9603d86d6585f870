"""One piece: `python -m benchmarks.gpu probe --device cuda --data DIR --out DIR`."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.gpu.record import Place, Record

PIECES = {
    "probe": "probe",
    "demo": "demo",
    "label": "speed",
    "finetune": "speed",
    "students": "speed",
    "memory": "memory",
    "real": "real",
}
"""Every piece, in order, and the module that has a function of its name."""


def main() -> int:
    """Run a piece; 1 if it failed, with the error in its record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piece", choices=PIECES)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="models and runs; whatever is there is reused")
    parser.add_argument("--seconds", type=float, default=450.0)
    given = parser.parse_args()
    place = Place(*(getattr(given, name) for name in ("device", "data", "out", "work", "seconds")))
    if place.on_gpu and not torch.cuda.is_available():
        parser.error("torch sees no GPU")
    for folder in (place.out, place.work):
        folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped from outside"))
    record, error = Record(given.piece, place), ""
    try:
        if given.piece not in ("probe", "demo") and not (place.data / "vocab.txt").exists():
            raise FileNotFoundError(f"{place.data}: no data there. Make it with benchmarks/gpu_data.py")
        getattr(import_module(f"benchmarks.gpu.{PIECES[given.piece]}"), given.piece)(place, record)
    except (Exception, SystemExit) as found:
        error = f"{type(found).__name__}: {found}"[:500]
        if isinstance(found, Exception):
            sys.excepthook(*sys.exc_info())
    finally:
        record.finish(error)
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
