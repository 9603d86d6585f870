"""Pieces 3 to 5: labels, fine-tuning and students, each as the pipeline runs it."""

from __future__ import annotations

import lzma
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertForTokenClassification

from benchmarks.gpu.probe import peak_flops
from benchmarks.gpu.record import Place, Record
from benchmarks.gpu.stages import (
    MAX_PIECES,
    RECIPE,
    StopWatch,
    arguments_of,
    encoder_of,
    is_shard,
    is_update,
    make_checkpoint,
    operations_per_piece,
    run,
    settings_of,
)
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.pieces.encoder import PieceEncoder, load_encoder
from xtremedistil_ner.processes.precision import dtype_of, precision_on
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe

STUDENTS = {
    "BiLSTM (50, 200)": {},
    "BiLSTM (300, 600)": {"student.embedding_width": 300, "student.hidden_width": 600},
    "CNN 3 x 100": {"student.kind": "cnn", "student.hidden_width": 100, "student.head": "direct"},
    "transformer 4 x 256": {"student.kind": "transformer"},
}


def label(place: Place, record: Record) -> None:
    """Labelling of sentences of 32 to 128 and of 8 to 128 pieces, and of the tokenizer alone."""
    peak = _peak(place)
    record.add(what="matrix products (peak)", **{"TFLOP/s": peak / 1e12})
    size, shards = (8192, 5) if place.on_gpu else (24, 4)
    texts = {shortest: _write_text(place, sentences=size * shards, shortest=shortest) for shortest in (32, 8)}
    for shortest, (folder, _) in texts.items():
        rate = _host_limit(place, folder)
        record.add(what="tokenising alone, one thread", **_lengths(shortest), **{"pieces/s": rate})
    batches = (4096, 16_384, 65_536) if place.on_gpu else (128, 512)
    modes = (False, True) if place.on_gpu else (False,)  # our packed layers on CPU cannot be compiled
    for is_compiled, shortest, batch in product(modes, texts, batches):
        name = {"what": "labels" + ", compiled" * is_compiled, **_lengths(shortest), "batch": batch}
        if record.left() < (120 if is_compiled else 60):
            record.add(**name, error="left out: no time")
            continue
        with record.guarded(**name), _compiled(is_compiled):
            folder, n_pieces = texts[shortest]
            watch = _time_labels(place, folder, batch=batch, size=size, shards=shards)
            rate = n_pieces / shards / watch.median("pseudolabel")
            operations = operations_per_piece(make_checkpoint(place), length=n_pieces / shards / size)
            share = rate * operations / peak
            record.add(**name, **{"pieces/s": rate, "share of peak": share}, **watch.row("pseudolabel"))


def _lengths(shortest: int) -> dict[str, str]:
    return {"pieces": f"{shortest} to {MAX_PIECES}"}


def _time_labels(place: Place, text: Path, *, batch: int, size: int, shards: int) -> StopWatch:
    settings = {
        **settings_of(place, languages=1),
        "transfer.path": text,
        "transfer.sentences": None,
        "pseudolabel.batch_pieces": batch,
        "pseudolabel.shard_sentences": size,
    }
    watch = StopWatch(place, is_shard, window=1, windows=shards - 1 - place.on_gpu)
    run(place, settings, watch, until="pseudolabel", base=_teacher_run(place))
    return watch


def finetune(place: Place, record: Record) -> None:
    """Fine-tuning, by sentences of an update."""
    checkpoint, peak = make_checkpoint(place), _peak(place)
    for batch, precision in (
        ((32, "auto"), (128, "auto"), (512, "auto"), (128, "float32")) if place.on_gpu else ((8, "auto"),)
    ):
        settings = {
            **settings_of(place, languages=8 if place.on_gpu else 1),
            "corpus.train_sentences": 12 * batch if place.on_gpu else 80,
            "finetune.epochs": 2,
            "finetune.batch_sentences": batch,
            "finetune.precision": precision,
        }
        name = {"sentences": batch, "precision": precision}
        watch = StopWatch(place, is_update, window=16 if place.on_gpu else 2)
        with record.guarded(**name):
            run(place, settings, watch, until="finetune")
            length = _mean_length(settings, checkpoint)
            rate = length * batch / watch.median("gold labels")
            share = 3 * rate * operations_per_piece(checkpoint, length=length) / peak
            record.add(**name, **{"pieces/s": rate, "share of peak": share}, **watch.row("gold labels"))


def students(place: Place, record: Record) -> None:
    """Updates of every kind of student with D4.1, and of the BiLSTM with the posterior loss."""
    base = labelled_run(place)
    for name, fields in STUDENTS.items():
        for strategy, loss in (("D4.1", "mse"), ("D1", "posterior")):
            if loss == "posterior" and fields:
                continue  # its cost is the chain's, whatever the student
            with record.guarded(student=name, loss=f"{strategy}, {loss}"):
                for row in time_student(place, base, fields, strategy=strategy, loss=loss):
                    record.add(student=name, **row)


def time_student(
    place: Place, base: Path, fields: dict[str, object], *, strategy: str, loss: str, **more: object
) -> Iterator[dict[str, object]]:
    """A row for each phase of a strategy, all layers of the student in training."""
    watch = StopWatch(place, is_update, window=16 if place.on_gpu else 1, leave=strategy == "D1")
    settings = {
        **settings_of(place, languages=8 if place.on_gpu else 1),
        **fields,
        "student.embeddings": "random",
        "train.strategy": strategy,
        "train.logit_loss": loss,
        "train.updates": 5 * watch.steps + 5,
        "train.batch_sentences": 512 if place.on_gpu else 16,
        "train.micro_batch_pieces": 65_536,
        **more,
    }
    run(place, settings, watch, until="train", base=base)
    for phase in watch.seconds:
        names = phase if loss == "mse" else phase.replace("logits", loss)
        yield {"loss": names, "updates/s": 1 / watch.median(phase), **watch.row(phase)}


def labelled_run(place: Place) -> Path:
    """A run with soft labels of some sentences of real text, made once."""
    settings = settings_of(place, languages=8 if place.on_gpu else 1)
    return run(place, settings, silent, until="pseudolabel", name=f"labelled-{place.device}", keep=True)


def _teacher_run(place: Place) -> Path:
    """A run with the teacher that labels, made once."""
    settings = settings_of(place, languages=1)
    return run(place, settings, silent, until="finetune", name=f"teacher-{place.device}", keep=True)


def _peak(place: Place) -> float:
    device = torch.device(place.device)
    return peak_flops(device, dtype_of(precision_on(device, "auto")))


@contextmanager
def _compiled(is_wanted: bool) -> Iterator[None]:
    """Inside the block, BERTs run compiled for any shape of a batch, if that is wanted."""
    plain = BertForTokenClassification.forward
    if is_wanted:
        BertForTokenClassification.forward = torch.compile(plain, dynamic=True)
    try:
        yield
    finally:
        BertForTokenClassification.forward = plain


def _write_text(place: Place, *, sentences: int, shortest: int) -> tuple[Path, int]:
    """Real text, cut so that sentences are evenly spread over lengths in pieces; its folder, and the pieces of all."""
    folder = place.work / f"text-{shortest}-{place.device}"
    (language,) = settings_of(place, languages=1)["transfer.languages"]
    encoder = encoder_of(make_checkpoint(place))
    words, counts = _running_words(place, encoder, pieces=sentences * (shortest + MAX_PIECES) // 2)
    ends = np.cumsum(counts)
    wanted = np.random.default_rng(13).integers(shortest - 2, MAX_PIECES - 1, size=sentences)
    lines, start = [], 0
    for length in wanted.tolist():
        stop = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + length, side="right"))
        lines.append(" ".join(words[start:stop]))
        start = stop if stop < len(words) - MAX_PIECES else 0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, int(encoder.encode([line.split() for line in lines]).piece_lengths().sum())


def _running_words(place: Place, encoder: PieceEncoder, *, pieces: int) -> tuple[list[str], NDArray[np.int64]]:
    """Words of text of all languages in turn, and how many pieces each has; enough of them, if there are."""
    texts = [lzma.open(path, "rt", encoding="utf-8") for path in sorted(place.data.glob("text/*.txt.xz"))]
    words: list[str] = []
    for lines in zip_longest(*texts, fillvalue=""):
        words += " ".join(lines).split()
        if len(words) > pieces:  # a word has a piece at least
            break
    unique, place_of = np.unique(np.array(words, dtype=object), return_inverse=True)
    outer = len(encoder.prefix) + len(encoder.suffix)
    return words, (encoder.encode([[word] for word in unique]).piece_lengths() - outer)[place_of]


def _host_limit(place: Place, folder: Path) -> float:
    """Pieces per second of the tokenizer in one thread, words not seen before."""
    sentences = [line.split() for path in folder.glob("*.txt") for line in path.read_text("utf-8").splitlines()]
    encoder = load_encoder(make_checkpoint(place), max_pieces=MAX_PIECES)
    begin = time.perf_counter()
    encoded = encoder.encode(sentences[:8192])
    return float(encoded.piece_lengths().sum() / (time.perf_counter() - begin))


def _mean_length(settings: dict[str, Any], checkpoint: Path) -> float:
    corpus = open_corpus(load_recipe(RECIPE, overrides=arguments_of(settings)).corpus)
    words = [sentence.words for language in corpus.languages for sentence in corpus.sentences(language, "train")]
    return float(encoder_of(checkpoint).encode(words).piece_lengths().mean())
