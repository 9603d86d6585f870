"""What a piece found: rows that are on disk at once, as JSON, and as a table of `gpu.md` when the piece is done."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from xtremedistil_ner.errors import Interrupted


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece runs. Units: `seconds` that it may take."""

    device: str
    data: Path
    out: Path
    work: Path
    seconds: float

    @property
    def on_gpu(self) -> bool:
        """Whether this is no rehearsal."""
        return self.device == "cuda"


@dataclass(slots=True)
class Record:
    """The rows of a piece."""

    piece: str
    place: Place
    rows: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, **row: Any) -> None:  # noqa: ANN401 - whatever JSON has
        """Add a row and write all of them."""
        self.rows.append({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()})
        print(self.piece, self.rows[-1], flush=True)  # noqa: T201
        self._write({})

    @contextmanager
    def guarded(self, **name: Any) -> Iterator[None]:  # noqa: ANN401
        """Turn what the block raises into a row, so that the piece goes on; skip nothing else."""
        try:
            yield
        except Interrupted:
            raise
        except Exception as error:
            self.add(**name, error=f"{type(error).__name__}: {error}".partition("\n")[0][:300])

    def left(self) -> float:
        """Seconds that the piece has left."""
        return self.place.seconds - (time.monotonic() - self.began)

    def finish(self, error: str) -> None:
        """Write the end of the record, and its table."""
        self._write({"error": error} if error else {})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = [f"\n## {self.piece}\n", f"{machine()['device']}, {time.monotonic() - self.began:.0f} s\n"]
        lines += [f"Ended by: {error}\n"] if error else []
        lines += [_line(columns), _line(["---"] * len(columns))] if columns else []
        lines += [_line([row.get(name, "") for name in columns]) for row in self.rows]
        with (self.place.out / "gpu.md").open("a", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")

    def _write(self, more: dict[str, Any]) -> None:
        found = {"piece": self.piece, "machine": machine(), "seconds": round(time.monotonic() - self.began, 1)}
        path = self.place.out / f"gpu-{self.piece}.json"
        path.write_text(json.dumps({**found, **more, "rows": self.rows}, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, str]:
    """The device and the versions of what computes."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"
    packages = ("torch", "transformers", "tokenizers", "accelerate", "numpy")
    cuda = {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return {"device": name, "python": platform.python_version(), **cuda, **{name: version(name) for name in packages}}


def _line(cells: list[Any]) -> str:
    texts = (f"{cell:,}" if isinstance(cell, float) else str(cell) for cell in cells)
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"
