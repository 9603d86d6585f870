"""The product's stages under a stop-watch: a run is begun, listened to, and left as soon as enough is measured.

What is timed is `run_pipeline`, so with all that a user waits for. Times come from the events of a run; at the borders
of a timed window the device is waited for. A window has as many updates as fine-tuning sorts by length together.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from benchmarks.gpu.probe import synchronize
from benchmarks.gpu.record import Place
from xtremedistil_ner.bench.models import SHAPES
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.pieces.encoder import PieceEncoder, load_encoder
from xtremedistil_ner.pieces.vocabulary import read_vocabulary, wordpiece_tokenizer
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import Event
from xtremedistil_ner.recipe.reader import load_recipe

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "folder.yaml"
MAX_PIECES = 128
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
"""Differences from BERT's base size in a rehearsal on CPU."""


class Enough(Exception):
    """Leaves a run of which enough was seen."""


def small_corpus(place: Place, *, languages: int) -> Path:
    """The first languages that have training sentences, apart: a run reads dev and test of its whole folder."""
    folder = place.work / f"corpus-{languages}"
    for train in sorted(place.data.glob("corpus/*/train.tsv.xz"))[:languages]:
        shutil.copytree(train.parent, folder / train.parent.name, dirs_exist_ok=True)
    return folder


def settings_of(place: Place, *, languages: int) -> dict[str, Any]:
    """Recipe fields that every run here has."""
    corpus = small_corpus(place, languages=languages)
    return {
        "corpus.path": corpus,
        "transfer.languages": sorted(path.name for path in corpus.iterdir()),
        "transfer.path": place.data / "text",
        "transfer.training_text": False,
        "transfer.sentences": 3000 if place.on_gpu else 60,
        "teacher.checkpoint": make_checkpoint(place),
        "teacher.max_pieces": MAX_PIECES,
        "student.vocabulary": place.data / "vocab.txt",
        "finetune.epochs": 0,
        "train.dev_sentences": 5,
        "train.evaluate_every": 100_000,
    }


def arguments_of(settings: dict[str, Any]) -> list[str]:
    """Recipe fields as `--set` takes them."""
    return [f"{name}={_written(value)}" for name, value in settings.items()]


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)


def make_checkpoint(place: Place) -> Path:
    """A token classifier of mBERT's shape with random weights: speed does not depend on them."""
    folder = place.work / f"checkpoint-{place.device}"
    if not (folder / "config.json").exists():
        pieces = read_vocabulary(place.data / "vocab.txt")
        tags = open_corpus(load_recipe(RECIPE, overrides=[f"corpus.path={place.data / 'corpus'}"]).corpus).scheme.tags
        shape = SHAPES["mbert"] if place.on_gpu else _SMALL
        config = BertConfig(**{**shape, "vocab_size": len(pieces)})
        config.id2label, config.label2id = dict(enumerate(tags)), {tag: index for index, tag in enumerate(tags)}
        torch.manual_seed(0)
        names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        tokenizer = wordpiece_tokenizer(pieces, lowercase=False, special_rows=True)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)
        BertForTokenClassification(config).save_pretrained(folder)
    return folder


@cache
def encoder_of(checkpoint: Path) -> PieceEncoder:
    """The tokenizer of a checkpoint."""
    return load_encoder(checkpoint, max_pieces=MAX_PIECES)


def operations_per_piece(checkpoint: Path, *, length: float) -> float:
    """As `operations_of`, for a checkpoint."""
    return operations_of(BertConfig.from_pretrained(checkpoint), length=length)


def operations_of(config: BertConfig, *, length: float) -> float:
    """Floating-point operations a piece of a forward pass in matrix products and attention; training has three times.

    `length` is the pieces of a row.
    """
    width, layers = config.hidden_size, config.num_hidden_layers
    return layers * (2 * (4 * width**2 + 2 * width * config.intermediate_size) + 4 * width * length)


def run(
    place: Place,
    settings: dict[str, Any],
    tell: Callable[[Event], None],
    *,
    until: str,
    name: str = "timed",
    base: Path | None = None,
    keep: bool = False,
) -> Path:
    """Run the pipeline until a stage is done or `tell` has enough; its folder, which is gone unless kept."""
    folder = place.work / name
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    gc.collect()  # models of the run before
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        loaded = load_recipe(RECIPE, overrides=arguments_of(settings))
        run_pipeline(loaded, folder, until=until, take_from=base, processes=1, tell=tell)
    except Enough:
        pass
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return folder


def peak_memory() -> dict[str, float]:
    """The most device memory that tensors took since the last run began."""
    return {"peak GB": torch.cuda.max_memory_allocated() / 1e9} if torch.cuda.is_available() else {}


@dataclass(slots=True)
class StopWatch:
    """Times what a run tells, by the name of a phase. The first window of each warms up, the last one is profiled.

    `step` says whether an event ends a step, `window` how many steps are timed together.
    """

    place: Place
    step: Callable[[Event], bool]
    window: int
    windows: int = 3
    leave: bool = True
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    busy: dict[str, float] = field(default_factory=dict)
    _name: str = ""
    _steps: int = 0
    _mark: float = 0.0
    _profiler: torch.profiler.profile | None = None

    @property
    def steps(self) -> int:
        """Steps of a phase that are needed."""
        return self.window * (1 + self.windows + self.place.on_gpu)

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        if not self.step(event):
            return
        name = event.message if event.total else event.stage
        if name != self._name:
            self._name, self._steps = name, 0
        self._steps += 1
        number, rest = divmod(self._steps, self.window)
        if rest or number > 1 + self.windows + self.place.on_gpu:
            return
        synchronize()
        now = time.perf_counter()
        if 1 < number <= 1 + self.windows:
            self.seconds[name].append((now - self._mark) / self.window)
        if self.place.on_gpu:
            self._profile(name, number)
        self._mark = time.perf_counter()
        if self.leave and self._steps == self.steps:
            raise Enough

    def _profile(self, name: str, number: int) -> None:
        if number == 1 + self.windows:
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.start()
        elif self._profiler is not None:
            self._profiler.stop()
            busy = sum(found.self_device_time_total for found in self._profiler.key_averages()) / 1e6 / self.window
            self.busy[name] = busy / self.median(name)
            self._profiler = None

    def median(self, name: str) -> float:
        """Seconds of a step: the median of the windows."""
        return statistics.median(self.seconds[name])

    def row(self, name: str) -> dict[str, float]:
        """What a record says of a phase beside its rate."""
        of_windows = self.seconds[name]
        share = {"device busy": self.busy[name]} if name in self.busy else {}
        return {"ms": 1e3 * self.median(name), "fastest ms": 1e3 * min(of_windows), **share, **peak_memory()}


def is_update(event: Event) -> bool:
    """Whether an event ends an update."""
    return event.unit == "updates"


def is_shard(event: Event) -> bool:
    """Whether an event ends a shard that was labelled."""
    return event.stage == "pseudolabel" and "sentences/s" in event.metrics
