"""What the host does for a GPU that labels, measured on one core, against the time that the GPU needs.

    OMP_NUM_THREADS=1 python -m benchmarks.label_host TEXT vocab.txt

TEXT is a folder of raw text by language, as `xner` reads it. A shard of 8,192 of its sentences, as many of each
language, goes through the code of stage `pseudolabel` except for the model, whose logits are zeros. The words are new
to the tokenizer in every round. Times are CPU seconds of the process: the median of the rounds, and their range.

The device's time is computed: mBERT's shape on an H100 at 40 % of its dense peak in bf16, by the mean length of a row.
On a GPU, processes of their own read, hash, tokenise and send; the process of the GPU receives, batches and writes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import BertConfig

from benchmarks.gpu.stages import operations_of
from xtremedistil_ner.bench.models import SHAPES
from xtremedistil_ner.corpus.folder import folder_texts
from xtremedistil_ner.corpus.transfer import sentence_key
from xtremedistil_ner.pieces.encoder import PieceBatch, PieceEncoder
from xtremedistil_ner.pieces.predictor import GPU_BATCH_PIECES, compute_encoded_logits
from xtremedistil_ner.pieces.vocabulary import read_vocabulary, wordpiece_tokenizer
from xtremedistil_ner.run_folder.soft_labels import write_shard
from xtremedistil_ner.run_folder.whole_files import make_fingerprint
from xtremedistil_ner.stages.shard_readers import ReadyShard

PEAK, SHARE, CORES = 989e12, 0.4, 16
"""Operations a second of an H100 SXM in dense bf16, as its data sheet has them; what is asked of it; and its host."""
N_TAGS = 7
READERS, LABELLER = ("read", "hash", "tokenise", "send"), ("receive", "batch", "write")
ASKED = ("tokenise", "batch", "write")
"""What all cores together have to do in less time than the device."""


def main() -> None:
    """Measure, and print a table and what follows from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("--sentences", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pieces = read_vocabulary(given.vocabulary)
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        encoder = PieceEncoder(
            wordpiece_tokenizer(pieces, lowercase=False, special_rows=True), max_pieces=512, pad_id=0
        )
        n_sentences, n_pieces = one_round(given.text, given.sentences, encoder, seconds)
    report(seconds, n_sentences, n_pieces)


def one_round(text: Path, wanted: int, encoder: PieceEncoder, seconds: dict[str, list[float]]) -> tuple[int, int]:
    """Time every part once; the sentences and pieces of the shard."""

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        seconds[name].append(time.process_time() - begin)

    reader = folder_texts(text, column="text")
    languages = reader.languages()
    each = -(-wanted // len(languages))
    with timed("read"):
        read = [sentence.words for name in languages for sentence in islice(reader.read(name), each)]
        sentences = [words for words in read if sentence_key(words)][:wanted]
    with timed("hash"):
        fingerprint = make_fingerprint("shard", sentences)
    with timed("tokenise"):
        encoded = encoder.encode(sentences)
    with timed("send"):
        sent = ForkingPickler.dumps(ReadyShard("mixed", "mixed", tuple(sentences), fingerprint, (encoded,)))
    with timed("receive"):
        shard: ReadyShard = ForkingPickler.loads(sent)
    with timed("batch"):
        words = compute_encoded_logits(zeros, encoder, shard.encoded[0], n_tags=N_TAGS, batch_pieces=GPU_BATCH_PIECES)
    folder = Path(tempfile.mkdtemp())
    with timed("write"):
        write_shard(folder / "shard", sentences, words.logits, words.covered, language="mixed", fingerprint=fingerprint)
    shutil.rmtree(folder)
    return len(sentences), int(encoded.piece_lengths().sum())


def zeros(batch: PieceBatch) -> NDArray[np.float32]:
    """The logits of no model."""
    return np.zeros((*batch.first_piece.shape, N_TAGS), dtype=np.float32)


def report(seconds: dict[str, list[float]], n_sentences: int, n_pieces: int) -> None:
    """Print the table and what follows from it."""
    say: Callable[[str], None] = print
    say(f"{n_sentences:,} sentences, {n_pieces:,} pieces, {len(seconds['read'])} rounds\n")
    say("| part | CPU s | range | sentences/s | pieces/s |\n|---|---:|---:|---:|---:|")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, parts in (
        ("tokenise, batch, write", ASKED),
        ("a reader", READERS),
        ("the labeller", LABELLER),
        ("all of it", READERS + LABELLER),
    ):
        median[name] = sum(median[part] for part in parts)
    for name, value in median.items():
        spread = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f}" if name in seconds else ""
        say(f"| {name} | {value:.3f} | {spread} | {n_sentences / value:,.0f} | {n_pieces / value:,.0f} |")
    operations = operations_of(BertConfig(**SHAPES["mbert"]), length=n_pieces / n_sentences)
    device = n_pieces * operations / (SHARE * PEAK)
    say(f"\ndevice: {operations / 1e6:.1f} MFLOP a piece, {device:.3f} s ({n_pieces / device:,.0f} pieces/s)")
    for cores, name in (
        (CORES, "tokenise, batch, write"),
        (CORES, "all of it"),
        (CORES - 1, "a reader"),
        (1, "the labeller"),
    ):
        needed = median[name] / cores
        say(f"{name}, on {cores} cores: {needed:.3f} s, {needed / device:.2f} of the device's")


if __name__ == "__main__":
    main()
