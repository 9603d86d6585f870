"""Stage `train`: a student's updates as the loop does them, against random padded batches.

Both learn the same random soft labels of the same text, on whose values speed does not depend. Whether both reach the
same dev F1 is not measured here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from xtremedistil_ner.bench.models import BenchStudent
from xtremedistil_ner.bench.rounds import Clock, Contender, Timings, run_rounds, spread
from xtremedistil_ner.bench.settings import BenchSettings
from xtremedistil_ner.bench.workload import Workload
from xtremedistil_ner.distillation.sources import Distillation
from xtremedistil_ner.models.kinds import StudentNetwork
from xtremedistil_ner.models.student_config import read_config, read_network
from xtremedistil_ner.models.teacher import Teacher
from xtremedistil_ner.pieces.encoder import EncodedCorpus, PieceEncoder, load_encoder
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.schema import TrainSection
from xtremedistil_ner.run_folder.soft_labels import LanguageCounts, SoftLabelStore, open_store, seal_store, write_shard
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.loop import MAX_GRADIENT_NORM, micro_batches, train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source
from xtremedistil_ner.training.sampling import BatchPlan

STAGE = "bench"
BASELINE = "random batches padded to their longest row"
_SENTENCES = 20_000
_LEARNING_RATE = 1e-3
_SEED = 13
_BUDGET_S = 240.0
_LANGUAGE = "en"
_MAX_PIECES = 256
_MICRO_BATCH_PIECES: int = TrainSection.model_fields["micro_batch_pieces"].default


@dataclass(frozen=True, slots=True)
class _Job:
    """A student before its first update, and what it learns. Every call of `new` gives the same first weights."""

    folder: Path
    encoder: PieceEncoder
    teacher: Teacher
    store: SoftLabelStore
    encoded: EncodedCorpus
    device: torch.device
    batch: int

    def new(self) -> tuple[StudentNetwork, Source]:
        torch.manual_seed(_SEED)
        path = self.folder / "config.json"
        network = read_network(read_config(path), len(self.teacher.scheme.tags), path).to(self.device)
        learning = Distillation(
            network=network,
            encoder=self.encoder,
            gold=(),
            transfer=self.encoded,
            store=self.store,
            teacher=self.teacher,
            teacher_layer=0,
            dtype=torch.float32,
            batch=self.batch,
            seed=_SEED,
        )
        return network, learning.source("logits")


def bench_training(
    students: Sequence[BenchStudent], workload: Workload, settings: BenchSettings, tell: Reporter
) -> dict[str, Any]:
    """Everything that stage `train` measures, as JSON has it."""
    cells, load = [], []
    sentences = workload.part(0, min(_SENTENCES, len(workload.sentences)))
    with tempfile.TemporaryDirectory(prefix="xner-bench-") as name:
        for student in students:
            job = _job(student, sentences, Path(name, student.name), torch.device(settings.device))
            for batch in settings.batches:
                tell(Event(STAGE, f"trains {student.name}, batch {batch}"))
                timings = _time(replace(job, batch=batch), settings)
                load += timings.other_load
                cells.append(
                    {
                        "name": student.name,
                        "batch": batch,
                        "sentences_per_s": timings.per_s("loop"),
                        "baseline_sentences_per_s": timings.per_s("baseline"),
                        "faster_than_baseline": timings.ratio("loop", "baseline"),
                        "loader_share": 1 / timings.ratio("loader", "loop")["median"],
                    }
                )
    return {
        "models": {student.name: student.describe() for student in students},
        "workload": workload.describe(load_encoder(students[0].folder, max_pieces=512)),
        "baseline": BASELINE,
        "cells": cells,
        "other_load_cores": spread(load),
    }


def _time(job: _Job, settings: BenchSettings) -> Timings:
    updates, clock = max(4, 1024 // job.batch), settings.clock
    contenders = [
        Contender("loop", lambda _: _time_loop(job, updates, clock), job.batch, times_itself=True),
        Contender("baseline", lambda _: _time_baseline(job, updates, clock), job.batch, times_itself=True),
        Contender("loader", lambda _: _time_loader(job, updates, clock), job.batch, times_itself=True),
    ]
    return run_rounds(contenders, rounds=settings.rounds, clock=clock, budget_s=_BUDGET_S)


def _time_loop(job: _Job, updates: int, clock: Clock) -> float:
    """Seconds of an update, without the first one."""
    network, source = job.new()
    trained = frozenset(name for name, _ in network.named_parameters())
    phase = Phase("bench", (source,), trained, updates + 1, _LEARNING_RATE, None, updates + 2, updates + 2)
    settings = LoopSettings(STAGE, _SEED, torch.float32, _MICRO_BATCH_PIECES, float("inf"))
    alone = Processes(rank=0, count=1, device=job.device)
    ends: list[float] = []

    def note(event: Event) -> None:
        if event.total:
            ends.append(clock())

    with tempfile.TemporaryDirectory(prefix="xner-bench-") as folder:
        checkpoints = CheckpointFolder(Path(folder, "checkpoints"), fingerprint="bench")
        train_phases(network, [phase], settings=settings, processes=alone, checkpoints=checkpoints, tell=note)
    return (ends[-1] - ends[0]) / updates


def _time_baseline(job: _Job, updates: int, clock: Clock) -> float:
    network, source = job.new()
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.0, fused=True)
    plan = BatchPlan(source.plan.lengths, batch=job.batch, seed=_SEED)
    network.train()
    begin = 0.0
    for update in range(updates + 1):
        begin = clock() if update == 1 else begin
        rows = plan.rows(update)
        optimizer.zero_grad()
        loss = source.loss(rows) / int(source.words[rows].sum())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        optimizer.step()
    return (clock() - begin) / updates


def _time_loader(job: _Job, updates: int, clock: Clock) -> float:
    """Seconds that an update spends on its input: its rows, their passes, padded pieces and soft labels."""
    _, source = job.new()
    useful = np.arange(job.encoded.n_rows)
    begin = 0.0
    for update in range(updates + 1):
        begin = clock() if update == 1 else begin
        rows = source.plan.rows(update)
        for part in micro_batches(rows, source.plan.lengths[rows], _MICRO_BATCH_PIECES, cost=source.cost):
            batch = job.encoder.collate(job.encoded, useful[part])
            torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
            positions = job.encoded.predicted_positions(batch)
            covered = job.store.covered_at(positions)
            torch.from_numpy(job.store.logits_at(positions[covered]))
    return (clock() - begin) / updates


def _job(student: BenchStudent, sentences: Sequence[Sequence[str]], folder: Path, device: torch.device) -> _Job:
    """A job whose batches have one row. Its teacher has tags and no say: all soft labels are in the store."""
    encoder = load_encoder(student.folder, max_pieces=_MAX_PIECES)
    encoded = encoder.encode(sentences)
    tags = student.scheme.tags
    logits = np.random.default_rng(_SEED).normal(size=(encoded.n_words, len(tags))).astype(np.float32)
    covered = np.ones(encoded.n_words, dtype=np.bool_)
    shard = f"{_LANGUAGE}-00000"
    write_shard(folder / shard, sentences, logits, covered, language=_LANGUAGE, fingerprint="bench")
    counts = LanguageCounts(len(sentences), 0, 0, len(sentences), words=encoded.n_words, lost_words=0)
    seal_store(folder, [shard], fingerprint="bench", tags=tags, counts={_LANGUAGE: counts})
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=encoder.tokenizer)
    columns = tuple((index,) for index in range(len(tags)))
    teacher = Teacher(BertForTokenClassification(config), tokenizer, encoder, student.scheme, columns)
    return _Job(student.folder, encoder, teacher, open_store(folder), encoded, device, batch=1)
