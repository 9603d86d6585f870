"""Dev sentences, divided among processes: their F1 selects a model while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.evaluation.calibration import TEMPERATURES, log_losses
from xtremedistil_ner.evaluation.scoring import macro_f1, span_counts
from xtremedistil_ner.labels import LabelScheme, TagIds, Transitions, decode_sentences
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import Predictor, WordLogits, compute_encoded_logits
from xtremedistil_ner.processes.world import Processes

_LOSS_UNITS = 2**20
"""Parts of a nat in which processes add up their losses: whole numbers, whose sum does not hang on its order."""


class DevSet:
    """Dev sentences per language, encoded once; languages without any, or without an entity, do not count."""

    def __init__(
        self,
        sentences: Mapping[str, Sequence[Sentence]],
        *,
        encoder: PieceEncoder,
        scheme: LabelScheme,
        processes: Processes,
        batch_pieces: int,
    ) -> None:
        self.encoder, self.scheme, self.processes, self.batch_pieces = encoder, scheme, processes, batch_pieces
        self.languages = [language for language, of_language in sentences.items() if of_language]
        mine = {name: sentences[name][processes.rank :: processes.count] for name in self.languages}
        self.encoded = {name: encoder.encode([s.words for s in part]) for name, part in mine.items()}
        self.gold = {name: [scheme.encode(s.tags or ()) for s in part] for name, part in mine.items()}

    def score(self, predictor: Predictor, transitions: Transitions | None = None) -> dict[str, float]:
        """Strict macro-F1 over languages, as `score`: the number that selection maximises.

        Shapes: transitions (tags + 1, tags), a CRF's.
        """
        totals = np.zeros((len(self.languages), len(self.scheme.types), 3), dtype=np.int64)
        for index, language in enumerate(self.languages):
            word_logits, tags = self._tag(language, predictor, transitions)
            predicted = np.split(tags, word_logits.offsets[1:-1])
            predicted = predicted[: len(self.gold[language])]  # of no sentences, `split` makes one part
            totals[index] = span_counts(self.gold[language], predicted, self.scheme).sum(axis=0)
        totals = self.processes.sum_array(totals)
        return {"score": macro_f1(dict(zip(self.languages, totals, strict=True)))}

    def temperature(self, predictor: Predictor, transitions: Transitions | None = None) -> float:
        """The temperature at which the scores of the entities that a model finds fit best whether they are right.

        1 without any entity. Shapes: transitions (tags + 1, tags), a CRF's.
        """
        losses = np.zeros(len(TEMPERATURES))
        for language in self.languages:
            word_logits, tags = self._tag(language, predictor, transitions)
            losses += log_losses(word_logits.logits, tags, self.gold[language], self.scheme)
        sums = self.processes.sum_array(np.rint(losses * _LOSS_UNITS).astype(np.int64))
        return float(TEMPERATURES[sums.argmin()]) if sums.any() else 1.0

    def _tag(self, language: str, predictor: Predictor, transitions: Transitions | None) -> tuple[WordLogits, TagIds]:
        """Logits and tags of this process's sentences of a language."""
        encoded, n_tags = self.encoded[language], len(self.scheme.tags)
        word_logits = compute_encoded_logits(
            predictor, self.encoder, encoded, n_tags=n_tags, batch_pieces=self.batch_pieces
        )
        return word_logits, decode_sentences(word_logits.logits, word_logits.offsets, self.scheme, transitions)
