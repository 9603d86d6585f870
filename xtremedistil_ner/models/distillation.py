"""What a student is trained on: one source per loss, over gold sentences or over the soft-label store.

Student and teacher meet at words. Logits come from the store; the teacher's states, which only the representation
loss needs, are computed when a batch asks for them (stored, they would take 354 GB for 7.2M sentences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.models.bilstm import BiLstm
from xtremedistil_ner.models.teacher import Teacher, teacher_states
from xtremedistil_ner.pieces import EncodedCorpus, PieceBatch, PieceEncoder, ragged_index
from xtremedistil_ner.soft_labels import SoftLabelStore
from xtremedistil_ner.training.loop import Source
from xtremedistil_ner.training.losses import label_loss, logit_loss, representation_loss
from xtremedistil_ner.training.processes import Processes
from xtremedistil_ner.training.sampling import BatchPlan
from xtremedistil_ner.training.strategies import Layer, Loss

_DEV_SENTENCES = 1000
"""Dev sentences over which the representation error is measured: it needs the teacher at every look."""
_LAYER_PREFIXES: dict[Layer, tuple[str, ...]] = {
    "classifier": ("classifier.",),
    "projection": ("projection.",),
    "lstm": ("forward_lstm.", "backward_lstm."),
    "embeddings": ("embeddings.",),
}


@dataclass(slots=True)
class Distillation:
    """A student, its teacher, and the text of both."""

    network: BiLstm
    encoder: PieceEncoder
    gold: Sequence[Sentence]
    transfer: EncodedCorpus | None
    store: SoftLabelStore
    teacher: Teacher
    teacher_layer: int
    dtype: torch.dtype
    batch: int
    seed: int
    _sources: dict[Loss, Source] = field(default_factory=dict)

    def source(self, loss: Loss) -> Source:
        """The source of a loss, built once."""
        if loss not in self._sources:
            self._sources[loss] = self._gold_source() if loss == "labels" else self._transfer_source(loss)
        return self._sources[loss]

    def parameters_of(self, layers: Sequence[Layer]) -> frozenset[str]:
        """Names of the parameters of some layers."""
        prefixes = tuple(prefix for layer in layers for prefix in _LAYER_PREFIXES[layer])
        return frozenset(name for name, _ in self.network.named_parameters() if name.startswith(prefixes))

    def representation_error(self, sentences: Sequence[Sequence[str]], processes: Processes) -> float:
        """Mean representation loss per word over a fixed sample of some sentences, shared out over processes."""
        step = max(1, len(sentences) // _DEV_SENTENCES)
        mine = sentences[::step][processes.rank :: processes.count]
        total = torch.zeros(2, dtype=torch.float64, device=self.teacher.model.device)
        for start in range(0, len(mine), 256):
            part = mine[start : start + 256]
            encoded = self.encoder.encode(part)
            rows = np.flatnonzero(encoded.scored_words())
            if not len(rows):
                continue
            hidden, batch = self._student_words(encoded, rows)
            states, covered = self._teacher_words(part)
            scored = torch.from_numpy(encoded.scored_positions(batch)).to(hidden.device)
            keep = covered[scored]
            total[0] += representation_loss(self.network.represent(hidden[keep]), states[scored][keep])
            total[1] += keep.sum()
        processes.sum_tensor(total)
        return float(total[0] / total[1].clamp(min=1))

    def _gold_source(self) -> Source:
        encoded = self.encoder.encode([sentence.words for sentence in self.gold])
        tags = np.concatenate([self.teacher.scheme.encode(sentence.tags or ()) for sentence in self.gold])

        def loss(rows: NDArray[np.int64]) -> Tensor:
            hidden, batch = self._student_words(encoded, rows)
            gold = torch.from_numpy(tags[encoded.scored_positions(batch)].astype(np.int64)).to(hidden.device)
            return label_loss(self.network.classify(hidden), gold)

        return self._source("labels", encoded, encoded.scored_words(), loss)

    def _transfer_source(self, name: Loss) -> Source:
        if self.transfer is None:
            raise ValueError(f"{name} needs the transfer set")
        encoded = self.transfer

        def loss(rows: NDArray[np.int64]) -> Tensor:
            hidden, batch = self._student_words(encoded, rows)
            if name == "representation":
                return self._representation_loss(encoded, batch, hidden)
            positions = encoded.scored_positions(batch)
            covered = self.store.covered_at(positions)
            teacher_logits = torch.from_numpy(self.store.logits_at(positions[covered])).to(hidden.device)
            student_logits = self.network.classify(hidden[torch.from_numpy(covered).to(hidden.device)])
            if name == "hard":
                return label_loss(student_logits, teacher_logits.argmax(dim=-1))
            return logit_loss(student_logits, teacher_logits)

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
        plan = BatchPlan(encoded.piece_lengths()[useful], batch=self.batch, seed=self.seed)
        return Source(name, plan, words[useful], lambda rows: loss(useful[rows]))

    def _student_words(self, encoded: EncodedCorpus, rows: NDArray[np.int64]) -> tuple[Tensor, PieceBatch]:
        """LSTM states of the scored words of some rows, in the mask's order. Shapes: (words, 2 * hidden)."""
        batch = self.encoder.collate(encoded, rows)
        device = self.network.embeddings.weight.device
        hidden = self.network.hidden(
            torch.from_numpy(batch.input_ids).to(device), torch.from_numpy(batch.attention_mask).to(device)
        )
        row, word = np.nonzero(batch.word_mask)
        first = torch.from_numpy(batch.first_piece[row, word]).to(device)
        return hidden[torch.from_numpy(row).to(device), first], batch

    def _representation_loss(self, encoded: EncodedCorpus, batch: PieceBatch, hidden: Tensor) -> Tensor:
        _, counts = encoded.word_positions(batch.rows)
        sentences = self.store.words_of(encoded.sentence[batch.rows], encoded.first_word[batch.rows], counts)
        states, covered = self._teacher_words(sentences)
        is_word = np.arange(batch.word_mask.shape[1])[None, :] < counts[:, None]
        scored = torch.from_numpy(np.flatnonzero(batch.word_mask[is_word])).to(hidden.device)
        keep = covered[scored]
        return representation_loss(self.network.represent(hidden[keep]), states[scored][keep])

    def _teacher_words(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """The teacher's states of all words of some sentences. Shapes: (all words, width); (all words,) bool."""
        encoder = self.teacher.encoder
        encoded = encoder.encode(sentences)
        batch = encoder.collate(encoded, np.arange(encoded.n_rows))
        device = self.teacher.model.device
        found = teacher_states(self.teacher, self.teacher_layer, self.dtype)(batch)
        positions = torch.from_numpy(encoded.scored_positions(batch)).to(device)
        states = torch.zeros(encoded.n_words, found.shape[-1], device=device)
        states[positions] = found[torch.from_numpy(batch.word_mask).to(device)]
        covered = torch.zeros(encoded.n_words, dtype=torch.bool, device=device)
        covered[positions] = True
        return states, covered


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
