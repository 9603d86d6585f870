"""Training checkpoints: published whole and named by phase, update and size of the passes; the newest whole one counts.

A new checkpoint gets a new name, and the old ones are removed only when it is complete, so that a kill at any moment
leaves at least one to resume from. No pickle: tensors in safetensors, numbers in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from xtremedistil_ner.errors import ArtefactError, CheckpointError
from xtremedistil_ner.run_folder.artefacts import clear, publish, verify
from xtremedistil_ner.run_folder.forms import require_form
from xtremedistil_ner.run_folder.whole_files import read_json, write_json

_PREFIX = "checkpoint-"


@dataclass(slots=True)
class TrainingState:
    """Where a training job stands. Units: `update` counts inside the phase, `total` over all phases.

    `looks` is the history: one mapping of numbers per look at the loss and at dev. `stale` counts looks without
    improvement.
    `pass_pieces` limits passes since memory ran out; before, it is None.
    """

    phase: int = 0
    update: int = 0
    total: int = 0
    best_score: float | None = None
    stale: int = 0
    updates_since_look: int = 0
    pass_pieces: int | None = None
    looks: list[dict[str, Any]] = field(default_factory=list)


class CheckpointFolder:
    """The checkpoints of one training job, which carry its fingerprint."""

    def __init__(self, path: Path, *, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self._current: Path | None = None

    def save(self, state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
        """Publish a checkpoint, unless it is the newest one already, then remove the older ones."""
        passes = "" if state.pass_pieces is None else f"-{state.pass_pieces}"
        target = self.path / f"{_PREFIX}{state.phase:03d}-{state.update:09d}{passes}"
        if target == self._current:
            return
        with publish(target, {"fingerprint": self.fingerprint}) as folder:
            # cloned, because tied weights share memory, which safetensors refuses
            copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            save_file(copies, folder / "state.safetensors")
            write_json(folder / "state.json", asdict(state))
        self._current = target
        for other in list(self.path.iterdir()):  # older ones, another job's, and one that a kill left unfinished
            if other != target and other.name.lstrip(".").startswith(_PREFIX):
                clear(other)

    def load_newest(self) -> tuple[TrainingState, dict[str, Tensor]] | None:
        """The newest checkpoint of this job, or None if there is none. Another job's stay until the first save.

        Raises: CheckpointError when there are checkpoints and none of them is whole.
        """
        broken: list[str] = []
        for folder in sorted(self._all(), reverse=True):
            try:
                manifest = verify(folder)
                if manifest.get("fingerprint") != self.fingerprint:
                    continue
                path = folder / "state.json"
                state = require_form(path, read_json(path), TrainingState, remedy="Remove the checkpoint.")
                tensors = load_file(folder / "state.safetensors")
                self._current = folder
                return state, tensors
            except (ArtefactError, SafetensorError) as error:
                broken.append(str(error))
        if broken:
            raise CheckpointError("No checkpoint can be read. " + " ".join(broken))
        return None

    def _all(self) -> list[Path]:
        return [path for path in self.path.glob(f"{_PREFIX}*") if path.is_dir()] if self.path.exists() else []
