"""What a student is trained on: one source per loss, over gold sentences or over the soft-label store.

Student and teacher meet at words. Logits come from the store; the teacher's states, which only the representation
loss needs, are computed when a batch asks for them (stored, they would take 354 GB for 7.2M sentences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from xtremedistil_ner.pieces.encoder import EncodedCorpus, PieceBatch, PieceEncoder, ragged_index
from xtremedistil_ner.processes.world import Processes, put_on
from xtremedistil_ner.run_folder.soft_labels import SoftLabelStore
from xtremedistil_ner.training.phases import Source
from xtremedistil_ner.training.sampling import BatchPlan

_DEV_SENTENCES = 1000
"""Dev sentences over which the representation error is measured: it needs the teacher at every look."""
_POOL, _CHUNK = 50, 32
"""Fifty batches at a time are sorted by length and dealt out in chunks of 32 rows: a batch of 32 has rows of one
length, one of 512 of sixteen. Words per row are an average then, or else words of short rows would count for more: dev
F1 of batches of 32 was 69.1 with their own words, 69.5 with the average, 69.6 in random batches (means of three seeds).
"""
_REPRESENTATION_LOSSES = {"mse": squared_error, "cosine": cosine_distance, "kld": state_divergence}


@dataclass(slots=True)
class Distillation:
    """A student, its teacher, and the text of both."""

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
    logit_loss: Literal["mse", "soft_cross_entropy", "posterior"] = "mse"
    temperature: float = 1.0
    representation_loss: Literal["mse", "cosine", "kld"] = "mse"
    _sources: dict[Loss, Source] = field(default_factory=dict)

    def source(self, loss: Loss) -> Source:
        """The source of a loss, built once."""
        if loss not in self._sources:
            self._sources[loss] = self._gold_source() if loss == "labels" else self._transfer_source(loss)
        return self._sources[loss]

    def parameters_of(self, layers: Sequence[str]) -> frozenset[str]:
        """Names of the parameters of some layers."""
        prefixes_of = self.network.layers()
        prefixes = tuple(prefix for layer in layers for prefix in prefixes_of[layer])
        return frozenset(name for name, _ in self.network.named_parameters() if name.startswith(prefixes))

    def representation_error(self, sentences: Sequence[Sequence[str]], processes: Processes) -> float:
        """Mean representation loss per word over a fixed sample of some sentences, shared out over processes."""
        step = max(1, len(sentences) // _DEV_SENTENCES)
        mine = sentences[::step][processes.rank :: processes.count]
        total = torch.zeros(2, dtype=torch.float64, device=self.teacher.model.device)
        for start in range(0, len(mine), 256):
            part = mine[start : start + 256]
            encoded = self.encoder.encode(part)
            rows = np.flatnonzero(encoded.predicted_words())
            if not len(rows):
                continue
            hidden, batch = self._student_words(encoded, rows)
            states, covered = self._teacher_words(part)
            scored = torch.from_numpy(encoded.predicted_positions(batch)).to(hidden.device)
            keep = covered[scored]
            total[0] += self._compare_states(self.network.represent(hidden[keep]), states[scored][keep])
            total[1] += keep.sum()
        processes.sum_tensor(total)
        return float(total[0] / total[1].clamp(min=1))

    def _gold_source(self) -> Source:
        encoded = self.encoder.encode([sentence.words for sentence in self.gold])
        tags = np.concatenate([self.teacher.scheme.encode(sentence.tags or ()) for sentence in self.gold])
        if self.network.crf is not None:
            tags = tags_that_decoding_can_give(tags, *_chain_borders(encoded))

        def loss(rows: NDArray[np.int64]) -> Tensor:
            hidden, batch = self._student_words(encoded, rows)
            gold = put_on(hidden.device, tags[encoded.predicted_positions(batch)].astype(np.int64))
            logits = self.network.classify(hidden)
            if self.network.crf is None:
                return label_loss(logits, gold)
            return self.network.crf.loss(logits, gold, _word_rows(encoded, batch, batch.word_mask.sum(axis=1)))

        return self._source("labels", encoded, encoded.predicted_words(), loss)

    def _transfer_source(self, name: Loss) -> Source:
        if self.transfer is None:
            raise ValueError(f"{name} needs the transfer set")
        encoded = self.transfer

        def loss(rows: NDArray[np.int64]) -> Tensor:
            hidden, batch = self._student_words(encoded, rows)
            if name == "representation":
                return self._representation_loss(encoded, batch, hidden)
            positions = encoded.predicted_positions(batch)
            covered = self.store.covered_at(positions)
            teacher_logits = put_on(hidden.device, self.store.logits_at(positions[covered]))
            places = put_on(hidden.device, np.flatnonzero(covered))  # a mask would make a GPU count it first
            student_logits = self.network.classify(hidden.index_select(0, places))
            if name == "hard":
                return label_loss(student_logits, teacher_logits.argmax(dim=-1))
            if self.logit_loss == "posterior":
                row = np.nonzero(batch.word_mask)[0][covered]
                taught = _word_rows(encoded, batch, np.bincount(row, minlength=len(batch.rows)))
                return self._posterior_loss(student_logits, teacher_logits, taught)
            if self.logit_loss == "soft_cross_entropy":
                return soft_cross_entropy(student_logits, teacher_logits, temperature=self.temperature)
            return squared_error(student_logits, teacher_logits)

        return self._source(name, encoded, _taught_words(encoded, self.store), loss)

    def _source(
        self,
        name: Loss,
        encoded: EncodedCorpus,
        words: NDArray[np.int64],
        loss: Callable[[NDArray[np.int64]], Tensor],
    ) -> Source:
        """A source over the rows that have a word to learn from."""
        useful = np.flatnonzero(words)
        if not len(useful):
            raise CorpusError(f"No word to learn from for the loss {name!r}. Give more training or transfer text.")
        plan = BatchPlan(encoded.piece_lengths()[useful], batch=self.batch, seed=self.seed, pool=_POOL, chunk=_CHUNK)
        is_on_cpu = next(self.network.parameters()).device.type == "cpu"
        return Source(
            name,
            plan,
            words[useful],
            lambda rows: loss(useful[rows]),
            words_per_row=float(words[useful].mean()),
            cost=kind_of(self.network).pass_cost_on_cpu if is_on_cpu else None,
        )

    def _student_words(self, encoded: EncodedCorpus, rows: NDArray[np.int64]) -> tuple[Tensor, PieceBatch]:
        """States of the scored words of some rows, in the mask's order. Shapes: (words, width of the states)."""
        batch = self.encoder.collate(encoded, rows)
        device = next(self.network.parameters()).device
        hidden = self.network.hidden(put_on(device, batch.input_ids), put_on(device, batch.attention_mask))
        n_pieces = batch.input_ids.shape[1]
        places = (np.arange(len(batch.rows))[:, None] * n_pieces + batch.first_piece)[batch.word_mask]
        return hidden.flatten(0, 1).index_select(0, put_on(device, places)), batch

    def _posterior_loss(self, logits: Tensor, teacher_logits: Tensor, rows: WordRows) -> Tensor:
        legality = legal_transitions(self.teacher.scheme).to(logits.device)
        return posterior_loss(
            logits,
            teacher_logits,
            rows,
            transitions=legality if self.network.crf is None else self.network.crf(),
            teacher_transitions=legality,
            temperature=self.temperature,
        )

    def _compare_states(self, states: Tensor, teacher_states: Tensor) -> Tensor:
        return _REPRESENTATION_LOSSES[self.representation_loss](states, teacher_states)

    def _representation_loss(self, encoded: EncodedCorpus, batch: PieceBatch, hidden: Tensor) -> Tensor:
        _, counts = encoded.word_positions(batch.rows)
        sentences = self.store.words_of(encoded.sentence[batch.rows], encoded.first_word[batch.rows], counts)
        states, covered = self._teacher_words(sentences)
        is_word = np.arange(batch.word_mask.shape[1])[None, :] < counts[:, None]
        scored = torch.from_numpy(np.flatnonzero(batch.word_mask[is_word])).to(hidden.device)
        keep = covered[scored]
        return self._compare_states(self.network.represent(hidden[keep]), states[scored][keep])

    def _teacher_words(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """The teacher's states of all words of some sentences. Shapes: (all words, width); (all words,) bool."""
        encoder = self.teacher.encoder
        encoded = encoder.encode(sentences)
        batch = encoder.collate(encoded, np.arange(encoded.n_rows))
        device = self.teacher.model.device
        found = teacher_states(self.teacher, self.teacher_layer, self.dtype)(batch)
        positions = torch.from_numpy(encoded.predicted_positions(batch)).to(device)
        states = torch.zeros(encoded.n_words, found.shape[-1], device=device)
        states[positions] = found[torch.from_numpy(batch.word_mask).to(device)]
        covered = torch.zeros(encoded.n_words, dtype=torch.bool, device=device)
        covered[positions] = True
        return states, covered


def _word_rows(encoded: EncodedCorpus, batch: PieceBatch, counts: NDArray[np.int64]) -> WordRows:
    """The rows of a batch as chains. A window that does not begin its sentence goes on from an unknown tag."""
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
