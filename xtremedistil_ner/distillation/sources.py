"""What a student is trained on: one source per loss, over gold sentences or over the soft-label store.

Student and teacher meet at words. Logits come from the store; the teacher's states, which only the representation
loss needs, are computed when a batch asks for them (stored, they would take 354 GB for 7.2M sentences), from pieces
that were encoded once. Which words count is decided in numpy: a GPU that is asked to count must first be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.distillation.losses import (
    cosine_distance,
    label_loss,
    posterior_loss,
    soft_cross_entropy,
    squared_error,
    state_divergence,
)
from xtremedistil_ner.distillation.strategies import Loss
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.models.crf import tags_that_decoding_can_give
from xtremedistil_ner.models.kinds import StudentNetwork, kind_of
from xtremedistil_ner.models.linear_chain import WordRows, legal_transitions
from xtremedistil_ner.models.teacher import Teacher, teacher_states
from xtremedistil_ner.pieces.encoder import EncodedCorpus, Ints, PieceBatch, PieceEncoder, ragged_index
from xtremedistil_ner.processes.world import Processes, put_on
from xtremedistil_ner.run_folder.soft_labels import SoftLabelStore
from xtremedistil_ner.training.phases import Rows, Source
from xtremedistil_ner.training.sampling import BatchPlan, rows_by_language

_DEV_SENTENCES = 1000
"""Dev sentences over which the representation error is measured: it needs the teacher at every look."""
_DEV_BATCH = 256
_POOL, _CHUNK = 50, 32
"""Fifty batches at a time are sorted by length and shuffled in chunks of 32 rows: a batch of 32 has rows of one length,
a batch of 512 has rows of sixteen lengths. Every row then counts as much as an average one, or words of short rows
would count for more: dev F1 of batches of 32 was 69.1 with each batch's own words, 69.5 with the average, and 69.6 in
random batches (means of three seeds).
"""


@dataclass(slots=True)
class Distillation:
    """A student, its teacher, and the text of both.

    `windows` is the transfer set as the teacher reads it: its sentence n is what `transfer` has in row n.
    """

    network: StudentNetwork
    encoder: PieceEncoder
    gold: Sequence[Sentence]
    transfer: EncodedCorpus | None
    store: SoftLabelStore
    teacher: Teacher
    teacher_layer: int
    dtype: torch.dtype
    batch: int
    seed: int
    windows: EncodedCorpus | None = None
    logit_loss: Literal["mse", "soft_cross_entropy", "posterior"] = "mse"
    temperature: float = 1.0
    sampling_temperature: float = 1.0
    representation_loss: Literal["mse", "cosine", "kld"] = "mse"
    legality: Tensor = field(init=False)
    _sources: dict[Loss, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.legality = legal_transitions(self.teacher.scheme).to(next(self.network.parameters()).device)

    def source(self, loss: Loss) -> Source:
        """The source of a loss, built once."""
        if loss not in self._sources:
            self._sources[loss] = _SOURCES[loss](self)
        return self._sources[loss]

    def parameters_of(self, layers: Sequence[str]) -> frozenset[str]:
        """Names of the parameters of some layers."""
        prefixes_of = self.network.layers()
        prefixes = tuple(prefix for layer in layers for prefix in prefixes_of[layer])
        return frozenset(name for name, _ in self.network.named_parameters() if name.startswith(prefixes))

    def representation_error(self, sentences: Sequence[Sequence[str]], processes: Processes) -> Callable[[], float]:
        """A function that measures the mean representation loss per word over a fixed sample of some sentences.

        The processes share the sample, and each encodes its part once.
        """
        step = max(1, len(sentences) // _DEV_SENTENCES)
        mine = sentences[::step][processes.rank :: processes.count]
        parts = [mine[start : start + _DEV_BATCH] for start in range(0, len(mine), _DEV_BATCH)]
        encoded = [(self.encoder.encode(part), self.teacher.encoder.encode(part)) for part in parts]

        def measure() -> float:
            total = torch.zeros(2, dtype=torch.float64, device=self.teacher.model.device)
            for ours, theirs in encoded:
                rows = np.flatnonzero(ours.predicted_words())
                if len(rows):
                    hidden, batch = self.student_words(ours, rows)
                    texts = np.arange(len(theirs.sentence_words) - 1)
                    error, n_words = self.compare_states(hidden, ours.predicted_positions(batch), theirs, texts)
                    total[0] += error
                    total[1] += n_words
            processes.sum_tensor(total)
            return float(total[0] / total[1].clamp(min=1))

        return measure

    def student_words(self, encoded: EncodedCorpus, rows: Rows) -> tuple[Tensor, PieceBatch]:
        """States of the scored words of some rows, in the mask's order. Shapes: (words, width of the states)."""
        batch = self.encoder.collate(encoded, rows)
        device = next(self.network.parameters()).device
        hidden = self.network.hidden(put_on(device, batch.input_ids), put_on(device, batch.attention_mask))
        n_pieces = batch.input_ids.shape[1]
        positions = (np.arange(len(batch.rows))[:, None] * n_pieces + batch.first_piece)[batch.word_mask]
        return hidden.flatten(0, 1).index_select(0, put_on(device, positions)), batch

    def compare_states(
        self, hidden: Tensor, positions: NDArray[np.int64], read: EncodedCorpus, texts: Rows
    ) -> tuple[Tensor, int]:
        """The representation loss over those of a student's words that the teacher covers too, and their number.

        Shapes: hidden (words, width of the states); positions (words,), among the words of the texts, one text after
        the other; texts (n,), sentences of what the teacher read; result ().
        """
        batch, places = collate_texts(self.teacher.encoder, read, texts)
        states = teacher_states(self.teacher, self.teacher_layer, self.dtype)(batch).flatten(0, 1)
        place = places[positions]
        covered = np.flatnonzero(place >= 0)
        ours = self.network.represent(hidden.index_select(0, put_on(hidden.device, covered)))
        theirs = states.index_select(0, put_on(states.device, place[covered]))
        return _REPRESENTATION_LOSSES[self.representation_loss](ours, theirs), len(covered)


def student_windows(transfer: EncodedCorpus, store: SoftLabelStore) -> Iterator[list[list[str]]]:
    """The words of every row of a student's transfer set, a chunk of rows at a time: what its teacher reads."""
    for start in range(0, transfer.n_rows, 4096):
        rows = np.arange(start, min(start + 4096, transfer.n_rows))
        _, counts = transfer.word_positions(rows)
        yield store.words_of(transfer.sentence[rows], transfer.first_word[rows], counts)


def collate_texts(encoder: PieceEncoder, encoded: EncodedCorpus, texts: Rows) -> tuple[PieceBatch, NDArray[np.int64]]:
    """A batch of all rows of some sentences, and where it has each of their words; -1 for a word that it lacks.

    Shapes: texts (n,), sentences; result (all words of the texts,) int64, places in the flat (batch, words).
    """
    first, stop = (np.searchsorted(encoded.sentence, texts, side=side) for side in ("left", "right"))
    n_rows = stop - first
    batch = encoder.collate(encoded, ragged_index(first, n_rows))
    counts = encoded.sentence_words[texts + 1] - encoded.sentence_words[texts]
    starts = np.repeat(np.cumsum(counts) - counts, n_rows) + encoded.first_word[batch.rows]
    places = np.full(int(counts.sum()), -1, dtype=np.int64)
    places[_number_words(starts, batch.word_mask)] = np.flatnonzero(batch.word_mask)
    return batch, places


def row_positions(encoded: EncodedCorpus, batch: PieceBatch) -> NDArray[np.int64]:
    """Numbers of a batch's scored words among all words of its rows, one row after the other.

    Shapes: result (words,) int64.
    """
    counts = encoded.word_offsets[batch.rows + 1] - encoded.word_offsets[batch.rows]
    return _number_words(np.cumsum(counts) - counts, batch.word_mask)


def _number_words(starts: Ints, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of the words that a mask selects, if each row's go up from its start.

    Shapes: starts (rows,); mask (rows, words); result (selected words,) int64.
    """
    numbers: NDArray[np.int64] = (starts[:, None] + np.arange(mask.shape[1]))[mask]
    return numbers


@dataclass(frozen=True, slots=True)
class _TaughtWords:
    """Words of a batch that student and teacher both cover, and, if asked, how they lie in rows.

    Shapes: logits, teacher_logits (words, tags).
    """

    logits: Tensor
    teacher_logits: Tensor
    rows: Callable[[], WordRows]


def _posterior(distillation: Distillation, words: _TaughtWords) -> Tensor:
    crf, legality = distillation.network.crf, distillation.legality
    return posterior_loss(
        words.logits,
        words.teacher_logits,
        words.rows(),
        transitions=legality if crf is None else crf(),
        teacher_transitions=legality,
        temperature=distillation.temperature,
    )


_REPRESENTATION_LOSSES = {"mse": squared_error, "cosine": cosine_distance, "kld": state_divergence}
_LOGIT_LOSSES: dict[str, Callable[[Distillation, _TaughtWords], Tensor]] = {
    "hard": lambda _, words: label_loss(words.logits, words.teacher_logits.argmax(dim=-1)),
    "mse": lambda _, words: squared_error(words.logits, words.teacher_logits),
    "soft_cross_entropy": lambda distillation, words: soft_cross_entropy(
        words.logits, words.teacher_logits, temperature=distillation.temperature
    ),
    "posterior": _posterior,
}


def _source_of_labels(distillation: Distillation) -> Source:
    network, gold = distillation.network, distillation.gold
    encoded = distillation.encoder.encode([sentence.words for sentence in gold])
    tags = np.concatenate([distillation.teacher.scheme.encode(sentence.tags or ()) for sentence in gold])
    if network.crf is not None:
        tags = tags_that_decoding_can_give(tags, *_chain_borders(encoded))

    def loss(rows: Rows) -> Tensor:
        hidden, batch = distillation.student_words(encoded, rows)
        gold_tags = put_on(hidden.device, tags[encoded.predicted_positions(batch)].astype(np.int64))
        logits = network.classify(hidden)
        if network.crf is None:
            return label_loss(logits, gold_tags)
        return network.crf.loss(logits, gold_tags, _word_rows(encoded, batch, batch.word_mask.sum(axis=1)))

    languages = np.array([sentence.language for sentence in gold])
    return _source(distillation, "labels", encoded, languages, encoded.predicted_words(), loss)


def _source_of_logits(distillation: Distillation, *, name: Loss) -> Source:
    network, store, encoded = distillation.network, distillation.store, _transfer_set(distillation, name)
    compare = _LOGIT_LOSSES["hard" if name == "hard" else distillation.logit_loss]

    def loss(rows: Rows) -> Tensor:
        hidden, batch = distillation.student_words(encoded, rows)
        positions = encoded.predicted_positions(batch)
        covered = store.covered_at(positions)
        teacher_logits = put_on(hidden.device, store.logits_at(positions[covered]))
        taught = put_on(hidden.device, np.flatnonzero(covered))  # a mask would make a GPU count it first
        logits = network.classify(hidden.index_select(0, taught))

        def word_rows() -> WordRows:
            row = np.nonzero(batch.word_mask)[0][covered]
            return _word_rows(encoded, batch, np.bincount(row, minlength=len(batch.rows)))

        return compare(distillation, _TaughtWords(logits, teacher_logits, word_rows))

    return _source(distillation, name, encoded, store.sentence_languages, _taught_words(encoded, store), loss)


def _source_of_states(distillation: Distillation) -> Source:
    store, encoded = distillation.store, _transfer_set(distillation, "representation")
    windows = distillation.windows
    if windows is None:
        raise ValueError("representation needs the transfer set as the teacher reads it")

    def loss(rows: Rows) -> Tensor:
        hidden, batch = distillation.student_words(encoded, rows)
        return distillation.compare_states(hidden, row_positions(encoded, batch), windows, batch.rows)[0]

    languages = store.sentence_languages
    return _source(distillation, "representation", encoded, languages, _taught_words(encoded, store), loss)


_SOURCES: dict[Loss, Callable[[Distillation], Source]] = {
    "labels": _source_of_labels,
    "hard": partial(_source_of_logits, name="hard"),
    "logits": partial(_source_of_logits, name="logits"),
    "representation": _source_of_states,
}


def _transfer_set(distillation: Distillation, name: Loss) -> EncodedCorpus:
    if distillation.transfer is None:
        raise ValueError(f"{name} needs the transfer set")
    return distillation.transfer


def _source(
    distillation: Distillation,
    name: Loss,
    encoded: EncodedCorpus,
    languages: NDArray[np.str_],
    words: NDArray[np.int64],
    loss: Callable[[Rows], Tensor],
) -> Source:
    """A source over the rows that have a word to learn from.

    Shapes: languages (sentences,), their codes; words (rows,), those that count in each row.
    """
    useful = np.flatnonzero(words)
    if not len(useful):
        raise CorpusError(f"No word to learn from for the loss {name!r}. Give more training or transfer text.")
    lengths = encoded.piece_lengths()[useful]
    plan = BatchPlan(
        lengths,
        batch=distillation.batch,
        seed=distillation.seed,
        pool=_POOL,
        chunk=_CHUNK,
        languages=rows_by_language(languages[encoded.sentence[useful]]),
        temperature=distillation.sampling_temperature,
    )
    is_on_cpu = next(distillation.network.parameters()).device.type == "cpu"
    return Source(
        name,
        plan,
        words[useful],
        lambda rows: loss(useful[rows]),
        words_per_row=plan.mean(words[useful]),
        cost=kind_of(distillation.network).pass_cost_on_cpu if is_on_cpu else None,
    )


def _word_rows(encoded: EncodedCorpus, batch: PieceBatch, counts: NDArray[np.int64]) -> WordRows:
    """The rows of a batch as chains. Before a window inside a sentence, the tag is unknown."""
    return WordRows(counts, encoded.first_word[batch.rows] == 0)


def _chain_borders(encoded: EncodedCorpus) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which words have a piece, and which begin a sentence. Shapes: (all words,) bool both."""
    has_piece = np.zeros(encoded.n_words, dtype=np.bool_)
    positions = ragged_index(*encoded.word_positions(np.arange(encoded.n_rows)))
    has_piece[positions[encoded.kept & (encoded.first_piece >= 0)]] = True
    opens = np.zeros(encoded.n_words + 1, dtype=np.bool_)
    opens[encoded.sentence_words] = True
    return has_piece, opens[:-1]


def _taught_words(encoded: EncodedCorpus, store: SoftLabelStore) -> NDArray[np.int64]:
    """Words of each row that both tokenizers cover. Shapes: (rows,) int64."""
    result = np.zeros(encoded.n_rows, dtype=np.int64)
    for start in range(0, encoded.n_rows, 8192):
        rows = np.arange(start, min(start + 8192, encoded.n_rows))
        first, count = encoded.word_positions(rows)
        begin, end = int(encoded.word_offsets[rows[0]]), int(encoded.word_offsets[rows[-1] + 1])
        scored: NDArray[Any] = encoded.kept[begin:end] & (encoded.first_piece[begin:end] >= 0)
        taught = scored & store.covered_at(ragged_index(first, count))
        result[rows] = np.add.reduceat(taught.astype(np.int64), np.concatenate([[0], np.cumsum(count)[:-1]]))
    return result
