"""Updates per second on 1, 2 and 4 processes of a CPU against the model of cost in docs/scaling.md, as Markdown.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py --model encoder --processes 1,2,4

The training loop itself runs, over random text by Zipf's law, `--batch` sentences for each process; every process
computes on one core. The model gets what each group measures: the seconds that the slowest process takes for an update
whose gradients stay in the process, while the others compute one too (they share caches and memory), and bandwidth and
latency of the group's sums.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForTokenClassification

from xtremedistil_ner.processes.cores import available_cores
from xtremedistil_ner.processes.world import Processes, current_processes
from xtremedistil_ner.progress import Event
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.launch import launch
from xtremedistil_ner.training.loop import train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source
from xtremedistil_ner.training.sampling import BatchPlan

N_TAGS, N_ROWS = 7, 4096
WARM_UP = 3
PROBE_BYTES = 25 * 2**20


class Student(nn.Module):
    """The shape of a (50, 200) BiLSTM student with a head of 768."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(pieces, 50)
        self.lstm = nn.LSTM(50, 200, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(400, 768), nn.ReLU(), nn.Linear(768, N_TAGS))

    def forward(self, pieces: Tensor) -> Tensor:
        """Shapes: pieces (batch, pieces) int64; result (batch, pieces, tags)."""
        logits: Tensor = self.head(self.lstm(self.embeddings(pieces))[0])
        return logits


class Encoder(nn.Module):
    """A BERT with a classifier: four layers of width 256."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=pieces, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024
        )
        config.num_labels = N_TAGS
        self.bert = BertForTokenClassification(config)

    def forward(self, pieces: Tensor) -> Tensor:
        """Shapes: pieces (batch, pieces) int64; result (batch, pieces, tags)."""
        logits: Tensor = self.bert(input_ids=pieces, attention_mask=(pieces != 0).long()).logits
        return logits


@dataclass(frozen=True, slots=True)
class Workload:
    """What every process does."""

    model: str
    pieces: int
    batch: int
    updates: int

    def text(self) -> list[np.ndarray]:
        """Random rows of 8 to 40 pieces."""
        random = np.random.default_rng(1)
        lengths = random.integers(8, 41, N_ROWS)
        return [np.minimum(random.zipf(1.2, length), self.pieces - 1) for length in lengths]


def pad(rows: list[np.ndarray]) -> Tensor:
    """Rows as one batch; piece 0 pads. Shapes: (rows, longest) int64."""
    return nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)


def measure(workload: Workload, target: Path) -> None:
    """Time the updates of this process's group; the main process writes what came out."""
    torch.set_num_threads(1)
    processes = current_processes() if workload_count() > 1 else Processes(0, 1, torch.device("cpu"))
    torch.manual_seed(0)
    model = {"encoder": Encoder, "student": Student}[workload.model](workload.pieces)
    text = workload.text()
    lengths = np.array([len(row) for row in text])

    def loss(rows: np.ndarray) -> Tensor:
        pieces = pad([text[row] for row in rows])
        logits = model(pieces)[pieces != 0]
        return functional.cross_entropy(logits, pieces[pieces != 0] % N_TAGS, reduction="sum")

    def seconds_of(group: Processes, name: str) -> tuple[list[float], BatchPlan]:
        plan = BatchPlan(lengths, batch=workload.batch * group.count, seed=1, pool=16)
        names = frozenset(name for name, _ in model.named_parameters())
        updates = workload.updates + WARM_UP
        phase = Phase("scaling", (Source("tags", plan, lengths, loss),), names, updates, 1e-4, None, updates + 1, 1)
        ends: list[float] = []

        def note(event: Event) -> None:
            if event.unit == "updates":
                ends.append(time.perf_counter())

        settings = LoopSettings("scaling", 1, torch.float32, 65_536, float("inf"))
        checkpoints = CheckpointFolder(target.parent / "checkpoints" / name, fingerprint="scaling")
        train_phases(model, [phase], settings=settings, processes=group, checkpoints=checkpoints, tell=note)
        return [after - before for before, after in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)], plan

    probe = probe_exchange(processes)
    own, _ = seconds_of(Processes(0, 1, torch.device("cpu")), f"{processes.count}-{processes.rank}")
    microseconds = processes.gather([round(1e6 * seconds) for seconds in own])
    own_s = statistics.median(microseconds.max(axis=0).tolist()) / 1e6
    together_s, shared = own_s, {"dense_bytes": 0.0, "row_bytes": 0.0}
    if processes.count > 1:
        times, plan = seconds_of(processes, f"{processes.count}")
        together_s, shared = statistics.median(times), exchanged(model, plan, text)
    if processes.is_main:
        target.write_text(json.dumps({"seconds": together_s, "own": own_s, **probe, **shared}))


def workload_count() -> int:
    """The number of processes of this group."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def probe_exchange(processes: Processes) -> dict[str, float]:
    """Seconds per byte of a large sum, and of a tiny one."""
    if processes.count == 1:
        return {"per_byte": 0.0, "latency": 0.0}
    large, tiny = torch.zeros(PROBE_BYTES // 4), torch.zeros(1)

    def seconds(tensor: Tensor) -> float:
        times = []
        for _ in range(5):
            processes.barrier()
            begin = time.perf_counter()
            processes.start_sum(tensor).wait()
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    latency = seconds(tiny)
    return {"per_byte": max(seconds(large) - latency, 0.0) / PROBE_BYTES, "latency": latency}


def exchanged(model: nn.Module, plan: BatchPlan, text: list[np.ndarray]) -> dict[str, float]:
    """Bytes that an update exchanges: of dense gradients, and of the touched rows of one process."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) and len(m.weight) >= 256}
    dense = sum(p.nbytes for p in model.parameters() if id(p) not in tables)
    width = next(m.weight.shape[1] for m in model.modules() if isinstance(m, nn.Embedding))
    rows = [plan.rows(update)[:: workload_count()] for update in range(8)]
    touched = statistics.mean(len(np.unique(np.concatenate([text[row] for row in of_update]))) for of_update in rows)
    return {"dense_bytes": dense, "row_bytes": touched * (4 * width + 8)}


def predict(count: int, of: dict[str, Any]) -> float:
    """Seconds of an update on `count` processes by the model of docs/scaling.md."""
    if count == 1:
        return float(of["own"])
    messages = -(-of["dense_bytes"] // PROBE_BYTES) + 3
    rows = (count - 1) / (2 * (count - 1) / count) * of["row_bytes"]  # a gathered byte is sent once, a summed one twice
    exchange = (of["dense_bytes"] + rows) * of["per_byte"] + messages * of["latency"]
    return float(of["own"] + exchange)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["encoder", "student"], default="encoder")
    parser.add_argument("--pieces", type=int, default=30_000, help="rows of the embedding table")
    parser.add_argument("--batch", type=int, default=32, help="sentences of an update for each process")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--processes", default="1,2,4")
    options = parser.parse_args()
    torch.set_num_threads(1)
    workload, cores = Workload(options.model, options.pieces, options.batch, options.updates), available_cores()
    say(f"{options.model}, {options.pieces:,} pieces, {options.batch} sentences for each process, {cores} cores\n")
    say("| processes | s/update | without exchange | predicted | measured / predicted | sentences/s | of linear | MB |")
    say("|---:|---:|---:|---:|---:|---:|---:|---:|")
    alone_s = 0.0
    with tempfile.TemporaryDirectory() as name:
        for count in map(int, options.processes.split(",")):
            target = Path(name, f"{count}.json")
            launch(measure, (workload, target), count=count, run_folder=Path(name))
            found = json.loads(target.read_text())
            alone_s = alone_s or found["seconds"]
            predicted = predict(count, found)
            per_s, linear = count * options.batch / found["seconds"], alone_s / found["seconds"]
            megabytes = (found["dense_bytes"] + found["row_bytes"] * count) / 1e6 if count > 1 else 0.0
            say(
                f"| {count} | {found['seconds']:.3f} | {found['own']:.3f} | {predicted:.3f} | "
                f"{found['seconds'] / predicted:.2f} | "
                f"{per_s:.1f} | {linear:.2f} | {megabytes:.1f} |"
            )


def say(line: str) -> None:
    """Print a line of the result."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
