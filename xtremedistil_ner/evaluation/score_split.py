"""One model on one split of a corpus: strict scores, the papers' protocol beside them, and what was confused.

The papers' protocol exists to be compared with their tables and with nothing else. It differs from the strict one in
what is scored and in how spans are read; `_paper_counts` says exactly how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.evaluation.bootstrap import Counts
from xtremedistil_ner.evaluation.calibration import BINS, bin_scores, score_entities
from xtremedistil_ner.evaluation.confusions import Confusion, count_confusions
from xtremedistil_ner.evaluation.noise import AS_WRITTEN, NOISE, chosen_sentences
from xtremedistil_ner.evaluation.open_model import ScoredModel
from xtremedistil_ner.evaluation.raw_text import raw_text_f1
from xtremedistil_ner.evaluation.scoring import LanguageScores, score_language, span_counts
from xtremedistil_ner.labels import LabelScheme, TagIds, TypeMapping, decode_sentences, decode_tags, map_types
from xtremedistil_ner.pieces.predictor import unheard

PAPER_PIECES = 32
"""The papers' length of a sequence, [CLS] and [SEP] included."""


@dataclass(frozen=True, slots=True)
class SplitScores:
    """What a model reached on a split, by language.

    * `counts` are the strict [correct, predicted, gold] of every sentence, from which intervals of retention and of
      differences come.
    * `tags` are the ids of all words in the corpus's scheme.
    * `calibration` are the entities of all languages by their scores, all zeros for a model without scores, and
      `scored` the scores and rightness of the predicted entities of each type.
    * `paper`, `raw_text`, F1 of spans in running text, and `noise`, counts of some sentences with and without noise,
      are empty unless they were asked for.

    Shapes: counts per language (sentences, 3) int64; tags per language (all words,); calibration (bins, 3), of
    `bin_scores`; scored (entities,) twice per language; noise (3,) per language and kind.
    """

    languages: dict[str, LanguageScores]
    counts: dict[str, Counts] = field(default_factory=dict)
    confusions: Counter[Confusion] = field(default_factory=Counter)
    calibration: NDArray[np.float64] = field(default_factory=lambda: np.zeros((BINS, 3)))
    scored: dict[str, list[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = field(default_factory=dict)
    tags: dict[str, TagIds] = field(default_factory=dict)
    paper: dict[str, LanguageScores] = field(default_factory=dict)
    raw_text: dict[str, float] = field(default_factory=dict)
    noise: dict[str, dict[str, Counts]] = field(default_factory=dict)


def scored_scheme(scheme: LabelScheme, types: TypeMapping) -> LabelScheme:
    """The types that a model of a scheme is scored on where the types of a corpus are mapped."""
    mapped = map_types([f"B-{kind}" for kind in scheme.types], _for_models(types))
    return LabelScheme(tuple(dict.fromkeys(tag[2:] for tag in mapped if tag[2:])))


def _for_models(types: TypeMapping) -> TypeMapping:
    """A corpus's mapping of types, for a model's: a type that others become is one of the new ones already."""
    return {old: new for old, new in types.items() if old not in types.values()}


def score_split(
    models: Mapping[str, ScoredModel],
    corpus: LabelledCorpus,
    *,
    split: str,
    bootstrap: int,
    seed: int,
    paper_protocol: bool = False,
    raw_text: bool = False,
    noise_sentences: int = 0,
    begin: Callable[[str], None] = unheard,
) -> SplitScores:
    """Score every language of a corpus that has the split: whole sentences, decoded as in service, strict spans.

    `models` are by language, and under `""` is the one for all that have none of their own. The corpus's mapping of
    types is a model's too. With `raw_text` the sentences are scored once more as running text, and at most
    `noise_sentences` of each language with each kind of noise. `begin` is told the language that comes next.
    """
    result = SplitScores({})
    for language in corpus.languages:
        model = models.get(language, models.get(""))
        sentences = corpus.sentences(language, split) if model else ()
        if not model or not sentences:
            continue
        begin(language)
        words = [sentence.words for sentence in sentences]
        gold = [corpus.scheme.encode(sentence.tags or ()) for sentence in sentences]
        mapped = corpus.scheme.encode(map_types(model.scheme.tags, _for_models(corpus.types)))
        word_logits = model.word_logits(words, None)
        ids = decode_sentences(word_logits.logits, word_logits.offsets, model.scheme, model.transitions)
        tags = mapped[ids]
        predicted = np.split(tags, word_logits.offsets[1:-1])
        counts = span_counts(gold, predicted, corpus.scheme)
        lost = int(np.count_nonzero(~word_logits.covered))
        result.languages[language] = score_language(
            counts, corpus.scheme, bootstrap=bootstrap, seed=seed, words_lost=lost
        )
        if raw_text:
            result.raw_text[language] = raw_text_f1(model, words, gold, corpus.scheme, mapped)
        result.counts[language] = counts.sum(axis=1)
        result.tags[language] = tags
        types, scores, is_right = score_entities(word_logits.logits, ids, tags, gold, corpus.scheme)
        result.calibration[:] += bin_scores(scores, is_right)
        for number, kind in enumerate(corpus.scheme.types):
            of_type = types == number
            result.scored.setdefault(kind, []).append((scores[of_type], is_right[of_type]))
        result.confusions.update(count_confusions(gold, predicted, corpus.scheme))
        if noise_sentences:
            chosen = chosen_sentences(len(sentences), noise_sentences)
            result.noise[language] = {AS_WRITTEN: result.counts[language][chosen].sum(axis=0)}
            for kind, make_noise in NOISE.items():
                noisy = model.word_logits(make_noise([words[number] for number in chosen]), None)
                noisy_ids = decode_sentences(noisy.logits, noisy.offsets, model.scheme, model.transitions)
                predicted = np.split(mapped[noisy_ids], noisy.offsets[1:-1])
                counts = span_counts([gold[number] for number in chosen], predicted, corpus.scheme)
                result.noise[language][kind] = counts.sum(axis=(0, 1))
        if paper_protocol:
            paper = _paper_counts(model, words, gold, corpus.scheme, mapped)
            result.paper[language] = score_language(paper, corpus.scheme, bootstrap=0, seed=seed)
    return result


def _paper_counts(
    model: ScoredModel, words: Sequence[Sequence[str]], gold: Sequence[TagIds], scheme: LabelScheme, mapped: TagIds
) -> Counts:
    """Entities as the papers' published code counts them (its `preprocessing.py`, `evaluation.py`, `conlleval.py`).

    As there: a sentence is cut at 32 pieces, special pieces included where the model has them, and its gold tags are
    cut with it, so that an entity behind the cut counts nowhere and one across it is shortened; a word without a piece
    has no label; every piece takes the tag that scores highest, whether or not the sequence is legal (a CRF gives its
    best path); a continuation piece continues its word's entity and never begins one; a stray `I-X` starts
    an entity, and so does a change of type.

    Not as there: our models label words, by their first pieces, while the papers' predict a label for each continuation
    piece too, which can end an entity inside a word; sentences keep their borders, while the papers' code joins all of
    them, shuffled, so that an entity may extend from one sentence into the next. Which release made the papers' tables,
    and whether the teacher's were counted by the same code, is not published.

    Shapes: mapped (tags of the model,), their ids in `scheme`, which gold tags have; result (sentences, types, 3).
    """
    word_logits = model.word_logits(words, PAPER_PIECES)
    gold_read, predicted = [], []
    for tags, (start, stop) in zip(gold, pairwise(word_logits.offsets), strict=True):
        covered = word_logits.covered[start:stop]
        logits = word_logits.logits[start:stop][covered]
        gold_read.append(tags[covered])
        is_free = model.transitions is None
        best = logits.argmax(axis=1) if is_free else decode_tags(logits, model.scheme, model.transitions)
        predicted.append(mapped[best])
    return span_counts(gold_read, predicted, scheme, rules="conlleval")
