"""What one core does for a student's update and a look at dev: `python -m benchmarks.student_host CORPUS vocab.txt`.

CPU time of the process, medians. The update of 512 rows with the representation loss is timed without its networks:
both batches, and which words student and teacher share. The posterior loss is forward and backward.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from xtremedistil_ner.bench.workload import load_workload
from xtremedistil_ner.distillation import sources
from xtremedistil_ner.distillation.losses import posterior_loss
from xtremedistil_ner.labels import LabelScheme, decode_sentences
from xtremedistil_ner.models.linear_chain import WordRows, legal_transitions
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer
from xtremedistil_ner.run_folder.soft_labels import open_store, seal_store, write_shard
from xtremedistil_ner.training.encoded_files import encode_to_folder, open_encoded
from xtremedistil_ner.training.sampling import BatchPlan

SCHEME = LabelScheme(("LOC", "ORG", "PER"))
SENTENCES, ROWS = 20_000, 512


def main() -> None:
    """Time all three parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("vocabulary", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _time_states(Path(folder), arguments.corpus, arguments.vocabulary)
    _time_posterior()
    _time_decoding()


def _report(name: str, function: Callable[[int], object], *, times: int, per: int = 1) -> None:
    seconds = []
    for number in range(times):
        begin = time.process_time()
        function(number)
        seconds.append(time.process_time() - begin)
    low, median, high = (1e6 * value / per for value in statistics.quantiles(seconds, n=4))
    print(f"{name}: {median:,.1f} us ({low:,.1f} to {high:,.1f})")  # noqa: T201 - its result


def _time_states(folder: Path, corpus: str, vocabulary: Path) -> None:
    sentences = load_workload(corpus, split="train").sentences[:SENTENCES]
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    student, teacher = (
        PieceEncoder(wordpiece_tokenizer(pieces, lowercase=False, special_rows=rows), max_pieces=longest, pad_id=0)
        for rows, longest in ((False, 128), (True, 256))
    )
    n_words = sum(map(len, sentences))
    logits, covered = np.zeros((n_words, len(SCHEME.tags)), dtype=np.float32), np.ones(n_words, dtype=np.bool_)
    write_shard(folder / "en-00000", sentences, logits, covered, language="en", fingerprint="f")
    seal_store(folder, ["en-00000"], fingerprint="f", tags=SCHEME.tags, counts={})
    store = open_store(folder)
    encode_to_folder(student, store.sentences(), folder / "transfer", fingerprint="f")
    transfer = open_encoded(folder / "transfer")
    encode_to_folder(teacher, sources.student_windows(transfer, store), folder / "windows", fingerprint="f")
    windows = open_encoded(folder / "windows")
    plan = BatchPlan(transfer.piece_lengths(), batch=ROWS, seed=13, pool=50, chunk=32)

    def update(number: int) -> None:
        batch = student.collate(transfer, plan.rows(number % plan.batches_per_epoch))
        positions = sources.row_positions(transfer, batch)
        _, places = sources.collate_texts(teacher, windows, batch.rows)
        np.flatnonzero(places[positions] >= 0)

    pieces_per_row = len(transfer.pieces) / transfer.n_rows
    _report(f"states, {ROWS} rows of {pieces_per_row:.1f} pieces", update, times=200)


def _time_posterior() -> None:
    random = np.random.default_rng(0)
    rows = WordRows(random.integers(1, 33, ROWS), random.random(ROWS) < 0.9)
    teacher = 4 * torch.randn(int(rows.counts.sum()), len(SCHEME.tags))
    student = (4 * torch.randn_like(teacher)).requires_grad_()
    legality = legal_transitions(SCHEME)

    def loss(own: torch.Tensor, other: torch.Tensor, part: WordRows) -> torch.Tensor:
        return posterior_loss(own, other, part, transitions=legality, teacher_transitions=legality, temperature=1.0)

    def row_by_row(_: int) -> None:
        parts = zip(student.split(rows.counts.tolist()), teacher.split(rows.counts.tolist()), strict=True)
        losses = [
            loss(own, other, WordRows(rows.counts[row : row + 1], rows.opens[row : row + 1]))
            for row, (own, other) in enumerate(parts)
        ]
        torch.stack(losses).sum().backward()

    _report(f"posterior, {ROWS} rows", lambda _: loss(student, teacher, rows).backward(), times=20)
    _report("posterior, row by row", row_by_row, times=3)


def _time_decoding() -> None:
    random = np.random.default_rng(0)
    offsets = np.cumsum([0, *random.integers(1, 40, 4000)])
    logits = random.normal(size=(offsets[-1], len(SCHEME.tags))).astype(np.float32)
    transitions = random.normal(size=(len(SCHEME.tags) + 1, len(SCHEME.tags)))
    for name, scores in (("decoding, random logits", None), ("decoding, random logits, CRF", transitions)):
        _report(
            f"{name}, a sentence",
            lambda _, scores=scores: decode_sentences(logits, offsets, SCHEME, scores),
            times=9,
            per=len(offsets) - 1,
        )


if __name__ == "__main__":
    main()
