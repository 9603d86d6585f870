"""Batches begun ahead of those that are taken, and halved where memory runs out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from support.tiny_student import VOCABULARY

from xtremedistil_ner.errors import ModelError, is_lack_of_memory
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import QueuedPredictor, compute_encoded_logits, compute_word_logits
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer

TEXT = [["a"] * n for n in (3, 1, 7, 7, 2, 5, 7, 4, 1, 6)]  # a word is a piece
LACKS = [
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB."),
]


@pytest.fixture
def encoder():
    return PieceEncoder(wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=False), max_pieces=40, pad_id=0)


def ranks(batch):
    """Logits that say where a word's first piece lies in which row."""
    return np.stack([batch.first_piece, np.broadcast_to(batch.rows[:, None], batch.first_piece.shape)], -1) + 0.5


class Device:
    """Computes batches of at most `holds` pieces; notes what is begun, taken and freed."""

    def __init__(self, *, holds=1000, error=None, fails_when="begun"):
        self.holds, self.error, self.fails_when, self.notes, self.said = holds, error, fails_when, [], []

    def predictor(self):
        return QueuedPredictor(self.begin, free=lambda: self.notes.append("free"), say=self.said.append)

    def begin(self, batch):
        self.notes.append(("begin", batch.input_ids.size))
        self._require("begun", batch)
        return partial(self.take, batch)

    def take(self, batch):
        self._require("taken", batch)
        self.notes.append(("take", batch.input_ids.size))
        return ranks(batch)

    def _require(self, when, batch):
        if when == self.fails_when and batch.input_ids.size > self.holds:
            raise self.error


def score(predictor, encoder, batch_pieces=28):
    return compute_word_logits(predictor, encoder, TEXT, n_tags=2, batch_pieces=batch_pieces).logits


def test_each_batch_is_begun_before_the_one_before_it_is_taken(encoder):
    device = Device()
    assert np.array_equal(score(device.predictor(), encoder), score(ranks, encoder))
    kinds = [kind for kind, _ in device.notes]
    assert kinds == ["begin", *["begin", "take"] * (kinds.count("take") - 1), "take"] and kinds.count("take") > 2
    sizes = {kind: [size for own, size in device.notes if own == kind] for kind in ("begin", "take")}
    assert sizes["begin"] == sizes["take"]


@pytest.mark.parametrize("fails_when", ["begun", "taken"])
@pytest.mark.parametrize("error", LACKS, ids=lambda error: f"{type(error).__name__} {str(error)[:30]}")
def test_where_memory_runs_out_the_rows_that_are_left_go_on_in_halves_and_nothing_is_lost(encoder, error, fails_when):
    assert is_lack_of_memory(error)
    device = Device(holds=16, error=error, fails_when=fails_when)
    predictor = device.predictor()
    assert np.array_equal(score(predictor, encoder, 1000), score(ranks, encoder, 1000))
    assert predictor.most_pieces == 15, "of 70 pieces, ten rows of seven, then of 30 in the largest batch of 35 at most"
    assert max(size for kind, size in filter(lambda note: note != "free", device.notes) if kind == "take") <= 16
    assert device.notes.count("free") == 2
    assert device.said == [f"memory ran out: batches of at most {most} pieces from here on" for most in (35, 15)]


def test_the_smaller_batches_are_remembered_for_the_next_text(encoder):
    device = Device(holds=16, error=MemoryError())
    predictor = device.predictor()
    score(predictor, encoder, 1000)
    device.notes.clear()
    score(predictor, encoder, 1000)
    assert "free" not in device.notes and len(device.said) == 2


def test_where_batches_may_not_be_halved_a_lack_of_memory_is_the_error(encoder):
    device = Device(holds=16, error=MemoryError("of the device"))
    options = {"n_tags": 2, "batch_pieces": 1000, "may_halve": False}
    with pytest.raises(MemoryError, match="of the device"):
        compute_encoded_logits(device.predictor(), encoder, encoder.encode(TEXT), **options)
    assert device.notes == [("begin", 70)] and device.said == []


def test_a_row_that_does_not_fit_by_itself_is_the_error(encoder):
    device = Device(holds=6, error=MemoryError("of the device"))
    with pytest.raises(MemoryError, match="of the device"):
        score(device.predictor(), encoder)
    assert min(size for kind, size in filter(lambda note: note != "free", device.notes)) <= 7


def test_other_errors_are_not_tried_again(encoder):
    device = Device(holds=1, error=RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal"):
        score(device.predictor(), encoder)
    assert len(device.notes) == 1
    with pytest.raises(ModelError, match="no finite numbers"):
        score(lambda batch: np.full((*batch.first_piece.shape, 2), np.nan, np.float32), encoder)
