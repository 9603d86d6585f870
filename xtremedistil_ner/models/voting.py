"""Several teachers that vote: their log-probabilities of every word's tags, averaged.

Teachers meet at words and in IOB2, so that their tokenizers and tag formats may differ. A run's `teacher/` folder is
the first teacher's own; the others lie in `voter-1/`, `voter-2/`… inside it, and `voters.json` has the weights. One
teacher alone gives its logits as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.teacher import Teacher, load_teacher, save_teacher, teacher_predictor
from xtremedistil_ner.models.teacher_labels import logits_to_iob2
from xtremedistil_ner.pieces.encoder import EncodedCorpus
from xtremedistil_ner.pieces.predictor import Predictor, QueuedPredictor, WordLogits, compute_encoded_logits, unheard
from xtremedistil_ner.run_folder.whole_files import read_json, write_json

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
        Vote(load_teacher(path, scheme, labels={}, max_pieces=max_pieces, device=device), weight)
        for path, weight in zip(folders, weights, strict=True)
    )


def predictors_of(
    votes: Sequence[Vote], dtype: torch.dtype, *, say: Callable[[str], None] = unheard
) -> tuple[QueuedPredictor, ...]:
    """A predictor for each teacher, in order. They tell `say` when memory ran out."""
    return tuple(teacher_predictor(vote.teacher, dtype, say=say) for vote in votes)


def encode_for(votes: Sequence[Vote], sentences: Sequence[Sequence[str]]) -> tuple[EncodedCorpus, ...]:
    """Sentences as the rows of each teacher, in order."""
    return tuple(vote.teacher.encoder.encode(sentences) for vote in votes)


def vote_on_rows(
    votes: Sequence[Vote],
    encoded: Sequence[EncodedCorpus],
    *,
    predictors: Sequence[Predictor],
    batch_pieces: int,
    may_halve: bool = True,
) -> WordLogits:
    """Logits of every word by all teachers; a word is left to those whose tokenizers cover it.

    They are the weighted mean of log-probabilities, or the logits of a single teacher. A word that no tokenizer covers
    has the logits of `O`; a word that one covers is covered.

    `encoded` has the same sentences as each teacher's rows; `predictors` compute, one for each teacher.

    Raises: as `compute_encoded_logits`.
    """
    n_tags = len(votes[0].teacher.scheme.tags)

    def logits_of(number: int) -> WordLogits:
        teacher = votes[number].teacher
        words = compute_encoded_logits(
            predictors[number],
            teacher.encoder,
            encoded[number],
            n_tags=n_tags,
            batch_pieces=batch_pieces,
            may_halve=may_halve,
        )
        if teacher.tag_format == "IOB1":
            return replace(words, logits=logits_to_iob2(words.logits, words.offsets))
        return words

    words = logits_of(0)
    if len(votes) == 1:
        return words
    total = np.zeros(words.logits.shape, dtype=np.float64)
    weight = np.zeros(len(words.logits))
    for number, vote in enumerate(votes):
        if number:
            words = logits_of(number)
        weights = np.where(words.covered, vote.weight, 0.0)
        total += weights[:, None] * torch.log_softmax(torch.from_numpy(words.logits).double(), dim=-1).numpy()
        weight += weights
    covered = weight > 0
    mean = total / np.where(covered, weight, 1.0)[:, None]
    logits = np.where(covered[:, None], mean, words.logits).astype(np.float32)
    return WordLogits(logits, covered, words.offsets)
