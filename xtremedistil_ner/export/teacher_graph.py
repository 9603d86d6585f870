"""A teacher that labels in int8 on ONNX Runtime, and how much that changes its labels.

On a processor that multiplies int8 (AVX-512 VNNI) it takes some 60 % of the time of bf16 and a third of that of
float32. Before anything is labelled, the teacher's int8 labels are compared with its float32 labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.onnx_bert import build_bert_graph
from xtremedistil_ner.export.onnx_int8 import quantise_graph
from xtremedistil_ner.models.teacher import Teacher, tag_logits, teacher_predictor
from xtremedistil_ner.pieces.encoder import PieceBatch
from xtremedistil_ner.pieces.predictor import Predictor, compute_word_logits
from xtremedistil_ner.tagging.tagger import open_session

MAX_DIVERGENCE = 0.01
"""In nats per word. A six-layer MiniLM fine-tuned on five WikiANN languages diverges by 0.0003 to 0.0035 in int8,
language by language (256 training sentences each, up to 0.6 % of words with another tag), by 4e-6 at most in bf16."""


@dataclass(frozen=True, slots=True)
class Int8Cost:
    """What int8 does to labels: KL(float32 || int8) in nats per word, and the share of words with another best tag."""

    words: int
    divergence: float
    other_tag: float

    @property
    def is_bearable(self) -> bool:
        """Whether the mean divergence is within `MAX_DIVERGENCE`; one that is not a number is not."""
        return self.divergence <= MAX_DIVERGENCE

    def to_json(self) -> dict[str, float]:
        """The entry beside the labels."""
        return asdict(self)


def int8_predictor(teacher: Teacher) -> Predictor:
    """The teacher with int8 matrices and embeddings, on one thread.

    Raises: ModelError for a family that has no graph here, and for more than ONNX can hold in one file.
    """
    try:
        graph = quantise_graph(build_bert_graph(teacher.model, metadata={}))
    except ValueError as error:  # protobuf's limit of 2 GB
        raise ModelError(
            "The teacher in float32 has more than the 2 GB that one ONNX graph can hold. "
            "Set pseudolabel.runtime to torch."
        ) from error
    session = open_session(graph.SerializeToString(), threads=1)

    def score(batch: PieceBatch) -> NDArray[np.float32]:
        feed = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        (logits,) = session.run(["logits"], feed)
        return tag_logits(teacher, torch.from_numpy(logits), batch).numpy()

    return score


def measure_int8(
    teacher: Teacher, int8: Predictor, sentences: Sequence[Sequence[str]], *, batch_pieces: int
) -> Int8Cost:
    """Label some sentences in float32 and in int8, and compare."""
    n_tags = len(teacher.scheme.tags)

    def log_probabilities(predictor: Predictor) -> Tensor:
        words = compute_word_logits(predictor, teacher.encoder, sentences, n_tags=n_tags, batch_pieces=batch_pieces)
        return torch.from_numpy(words.logits[words.covered]).double().log_softmax(dim=-1)

    exact, rough = log_probabilities(teacher_predictor(teacher, torch.float32)), log_probabilities(int8)
    if not len(exact):
        return Int8Cost(words=0, divergence=0.0, other_tag=0.0)
    divergence = (exact.exp() * (exact - rough)).sum(dim=-1).mean()
    other = (exact.argmax(dim=-1) != rough.argmax(dim=-1)).double().mean()
    return Int8Cost(words=len(exact), divergence=float(divergence), other_tag=float(other))


def require_bearable(cost: Int8Cost, *, name: str) -> None:
    """Raises: ModelError for int8 labels that are too far from those of float32."""
    if not cost.is_bearable:
        raise ModelError(
            f"{name} in int8: the labels of {cost.words} words of the transfer set diverge from those in float32 by "
            f"{cost.divergence:.4f} nats a word, at most {MAX_DIVERGENCE} are allowed, and {cost.other_tag:.2%} of the "
            "words get another tag. Set pseudolabel.runtime to torch."
        )
