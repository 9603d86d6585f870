"""Several teachers that vote: their log-probabilities of every word's tags, averaged.

Teachers meet at words and in IOB2, so that their tokenizers and tag formats may differ. A run's `teacher/` folder is
the first teacher's own; the others lie in `voter-1/`, `voter-2/`… inside it, and `voters.json` has the weights. One
teacher alone gives its logits as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.teacher import Teacher, load_teacher, save_teacher, teacher_scorer
from xtremedistil_ner.models.teacher_labels import logits_to_iob2
from xtremedistil_ner.pieces.scorer import Scorer, score_words
from xtremedistil_ner.run_folder.files import read_json, write_json

VOTERS = "voters.json"


@dataclass(frozen=True, slots=True)
class Vote:
    """A teacher and what it counts."""

    teacher: Teacher
    weight: float


def save_votes(folder: Path, votes: Sequence[Vote]) -> None:
    """Write the first teacher into a folder and the others, if any, below it."""
    save_teacher(folder, votes[0].teacher)
    for number, vote in enumerate(votes[1:], start=1):
        save_teacher(folder / f"voter-{number}", vote.teacher)
    if len(votes) > 1:
        write_json(folder / VOTERS, {"weights": [vote.weight for vote in votes]})


def load_votes(
    folder: Path, scheme: LabelScheme, *, max_pieces: int, device: torch.device | None = None
) -> tuple[Vote, ...]:
    """Load what `save_votes` wrote, the first teacher first.

    Raises: ModelError; ArtefactError for a broken `voters.json`.
    """
    weights = read_json(folder / VOTERS)["weights"] if (folder / VOTERS).exists() else [1.0]
    folders = [folder, *(folder / f"voter-{number}" for number in range(1, len(weights)))]
    return tuple(
        Vote(load_teacher(place, scheme, labels={}, max_pieces=max_pieces, device=device), weight)
        for place, weight in zip(folders, weights, strict=True)
    )


def vote_on_words(
    votes: Sequence[Vote],
    sentences: Sequence[Sequence[str]],
    *,
    dtype: torch.dtype,
    batch_pieces: int,
    scorers: Sequence[Scorer] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Scores of every word by all teachers; a word is left to those whose tokenizers cover it.

    `scorers`, one per vote, compute in place of the teachers' own models; `dtype` is for those.

    Shapes: scores (words, tags), the weighted mean of log-probabilities or one teacher's logits, those of `O` for a
    word that nobody covers; covered (words,) bool, by one teacher at least; offsets (sentences + 1,).
    """
    n_tags = len(votes[0].teacher.scheme.tags)

    def scores_of(number: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        teacher = votes[number].teacher
        scorer = teacher_scorer(teacher, dtype) if scorers is None else scorers[number]
        found = score_words(scorer, teacher.encoder, sentences, n_tags=n_tags, batch_pieces=batch_pieces)
        return (logits_to_iob2(found[0], found[2]), *found[1:]) if teacher.tag_format == "IOB1" else found

    logits, covered, offsets = scores_of(0)
    if len(votes) == 1:
        return logits, covered, offsets
    total = np.zeros(logits.shape, dtype=np.float64)
    weight = np.zeros(len(logits))
    for index, vote in enumerate(votes):
        if index:
            logits, covered, _ = scores_of(index)
        own = np.where(covered, vote.weight, 0.0)
        total += own[:, None] * torch.log_softmax(torch.from_numpy(logits).double(), dim=-1).numpy()
        weight += own
    is_covered = weight > 0
    mean = total / np.where(is_covered, weight, 1.0)[:, None]
    return np.where(is_covered[:, None], mean, logits).astype(np.float32), is_covered, offsets
