"""F1 as a service reaches it: a model's entities in running text, whose words it finds by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xtremedistil_ner.corpus.joined_text import join_words
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.evaluation.bootstrap import f1_of
from xtremedistil_ner.evaluation.open_model import ScoredModel
from xtremedistil_ner.evaluation.scoring import IdSequences
from xtremedistil_ner.labels import LabelScheme, TagIds, decode_sentences, legal_spans

_Span = tuple[int, int, int, int]
"""Sentence, first code point, end, type."""
_Places = Sequence[Sequence[tuple[int, int]]]


def raw_text_f1(
    model: ScoredModel, sentences: Sequence[Sequence[str]], gold: IdSequences, scheme: LabelScheme, mapped: TagIds
) -> float:
    """Micro-F1 of entities as spans of code points in the sentences' joined text, split as the tagger splits text.

    Shapes: gold one (words,) array of tag ids of `scheme` per sentence; mapped (tags of the model,), their ids in it.
    """
    joined = [join_words(words) for words in sentences]
    found = [split_words(text) for text, _ in joined]
    word_logits = model.word_logits([[word for word, _, _ in words] for words in found], None)
    ids = mapped[decode_sentences(word_logits.logits, word_logits.offsets, model.scheme, model.transitions)]
    predicted = _spans(ids, [[(start, end) for _, start, end in words] for words in found])
    right = _spans(np.concatenate([*gold, np.zeros(0, dtype=np.int64)]), [places for _, places in joined])
    return float(f1_of(np.array([len(predicted & right), len(predicted), len(right)])))


def _spans(ids: TagIds, places: _Places) -> set[_Span]:
    """The entities of legally tagged sentences. Shapes: ids (all words,)."""
    of_words = [(number, start, end) for number, words in enumerate(places) for start, end in words]
    return {
        (of_words[begin][0], of_words[begin][1], of_words[end - 1][2], (int(ids[begin]) - 1) // 2)
        for begin, end in zip(*(borders.tolist() for borders in legal_spans(ids)), strict=True)
    }
