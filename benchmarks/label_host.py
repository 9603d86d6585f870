"""What the host does for a GPU that labels, measured on one core, against the time that the GPU needs.

    OMP_NUM_THREADS=1 python -m benchmarks.label_host TEXT vocab.txt

TEXT is a folder of raw text by language, as `xner` reads it. A shard of 8,192 of its sentences, as many of each
language, goes through the code of stage `pseudolabel` except for the model, whose logits are zeros. The words are new
to the tokenizer in every round. Times are CPU seconds of the process: the median of the rounds, and their range.

The device's time is computed: mBERT's shape on an H100 at 40 % of its dense peak in bf16, by the mean length of a row.
Of what a process does, only the tokenizer's own work goes on in several threads at once: the rest holds Python's lock.
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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
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

PEAK, SHARE, CORES = 989e12, 0.4, 16
"""Operations a second of an H100 SXM in dense bf16, as its data sheet has them; what is asked of it; and its host."""
N_TAGS = 7
PARTS = ("tokenise", "batch", "write")
"""What has to be faster than the device; reading and hashing are shown beside."""


class TimedTokenizer:
    """A tokenizer that adds up the time of the library's own work."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.seconds = tokenizer, 0.0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the tokenizer has
        return getattr(self.tokenizer, name)

    def encode(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the tokenizer's own signature
        """As the tokenizer's."""
        begin = time.process_time()
        encoding = self.tokenizer.encode(*args, **kwargs)
        self.seconds += time.process_time() - begin
        return encoding


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
        tokenizer = TimedTokenizer(wordpiece_tokenizer(pieces, lowercase=False, special_rows=True))
        encoder = PieceEncoder(tokenizer, max_pieces=512, pad_id=0)  # type: ignore[arg-type]
        tokenizer.seconds = 0.0
        n_sentences, n_pieces = one_round(given.text, given.sentences, encoder, seconds)
        seconds["tokenise, without the lock"].append(tokenizer.seconds)
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
    with timed("batch"):
        words = compute_encoded_logits(zeros, encoder, encoded, n_tags=N_TAGS, batch_pieces=GPU_BATCH_PIECES)
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
    median["tokenise, batch and write"] = host = sum(median[name] for name in PARTS)
    median["all"] = host + median["read"] + median["hash"]
    for name, value in median.items():
        spread = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f}" if name in seconds else ""
        say(f"| {name} | {value:.3f} | {spread} | {n_sentences / value:,.0f} | {n_pieces / value:,.0f} |")
    operations = operations_of(BertConfig(**SHAPES["mbert"]), length=n_pieces / n_sentences)
    device = n_pieces * operations / (SHARE * PEAK)
    locked = median["all"] - median["tokenise, without the lock"]
    say(f"\ndevice: {operations / 1e6:.1f} MFLOP a piece, {device:.3f} s ({n_pieces / device:,.0f} pieces/s)")
    say(
        f"{CORES} cores: {host / CORES:.3f} s to tokenise, batch and write, {host / CORES / device:.2f} of the device's"
    )
    say(f"one process, any number of threads: {locked:.3f} s under the lock, {n_pieces / locked:,.0f} pieces/s")


if __name__ == "__main__":
    main()
