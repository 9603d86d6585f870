"""Dev sentences, divided among processes: their F1 selects a model while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.evaluation.calibration import TEMPERATURES, log_losses
from xtremedistil_ner.evaluation.scoring import macro_f1, span_counts
from xtremedistil_ner.labels import LabelScheme, TagIds, Transitions, decode_sentences
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import GPU_BATCH_PIECES, Predictor, WordLogits, compute_encoded_logits
from xtremedistil_ner.processes.world import Processes

_LOSS_UNITS = 2**20
"""Parts of a nat in which processes add up their losses: whole numbers, whose sum does not hang on its order."""

_LEAST_ENTITIES = 50
"""Of fewer, all may be right by chance, and any score would seem too low."""


class DevSet:
    """Dev sentences per language, encoded once; languages without any, or without an entity, do not count.

    On a CPU each language is scored by itself; a GPU takes all of them in fewer and fuller batches.
    """

    def __init__(
        self,
        sentences: Mapping[str, Sequence[Sentence]],
        *,
        encoder: PieceEncoder,
        scheme: LabelScheme,
        processes: Processes,
        batch_pieces: int,
    ) -> None:
        self.encoder, self.scheme, self.processes = encoder, scheme, processes
        on_gpu = processes.device.type == "cuda"
        self.batch_pieces = max(batch_pieces, GPU_BATCH_PIECES) if on_gpu else batch_pieces
        self.languages = [language for language, of_language in sentences.items() if of_language]
        mine = {name: sentences[name][processes.rank :: processes.count] for name in self.languages}
        together = [self.languages] if on_gpu and self.languages else [[name] for name in self.languages]
        self.encoded = [(names, encoder.encode([s.words for name in names for s in mine[name]])) for names in together]
        self.gold = {name: [scheme.encode(s.tags or ()) for s in part] for name, part in mine.items()}

    def score(self, predictor: Predictor, transitions: Transitions | None = None) -> dict[str, float]:
        """Strict macro-F1 over languages, as `score`: the number that selection maximises.

        Shapes: transitions (tags + 1, tags), a CRF's.
        """
        totals = np.zeros((len(self.languages), len(self.scheme.types), 3), dtype=np.int64)
        for names, word_logits, tags in self._tagged(predictor, transitions):
            predicted = iter(np.split(tags, word_logits.offsets[1:-1]))
            for name in names:
                gold = self.gold[name]
                counts = span_counts(gold, list(islice(predicted, len(gold))), self.scheme)
                totals[self.languages.index(name)] = counts.sum(axis=0)
        totals = self.processes.sum_array(totals)
        return {"score": macro_f1(dict(zip(self.languages, totals, strict=True)))}

    def temperature(self, predictor: Predictor, transitions: Transitions | None = None) -> float:
        """The temperature at which the scores of the entities that a model finds fit best whether they are right.

        1 if there are too few entities to tell. Shapes: transitions (tags + 1, tags), a CRF's.
        """
        losses, n_entities = np.zeros(len(TEMPERATURES)), 0
        for names, word_logits, tags in self._tagged(predictor, transitions):
            gold = [ids for name in names for ids in self.gold[name]]
            losses += log_losses(word_logits.logits, tags, gold, self.scheme)
            n_entities += int(np.count_nonzero(tags % 2))
        sums = self.processes.sum_array(np.rint(losses * _LOSS_UNITS).astype(np.int64))
        enough = self.processes.sum_array(np.array([n_entities]))[0] >= _LEAST_ENTITIES
        return float(TEMPERATURES[sums.argmin()]) if enough else 1.0

    def _tagged(
        self, predictor: Predictor, transitions: Transitions | None
    ) -> Iterator[tuple[list[str], WordLogits, TagIds]]:
        """Logits and tags of this process's sentences, with the languages whose they are, one after the other."""
        for names, encoded in self.encoded:
            word_logits = compute_encoded_logits(
                predictor, self.encoder, encoded, n_tags=len(self.scheme.tags), batch_pieces=self.batch_pieces
            )
            tags = decode_sentences(word_logits.logits, word_logits.offsets, self.scheme, transitions)
            yield names, word_logits, tags
