"""Two taggers that each know one half: names without contexts, and contexts without names.

Their F1 shows how much of a corpus can be memorised. The report of a demo run has it beside teacher and student.
Both are counts over the training sentences of one language: 4 µs a training word, 17 µs a tagged one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.evaluation.scoring import LanguageScores, score_language, span_counts
from xtremedistil_ner.labels import OUTSIDE, LabelScheme, decode_tags, spans_of

TagWords = Callable[[Sequence[str]], tuple[str, ...]]

_Context = tuple[tuple[int, ...], tuple[str, ...]]

# Which neighbours a prediction looks at, by their distance: the first tier with a context that train has decides.
_TIERS = (((-1, 0, 1),), ((-1, 0), (0, 1)), ((0,),))
_NAME, _LOWER, _EDGE = "\0name", "\0lower", "\0edge"
_SMOOTHING = 0.1


def baseline_scores(
    corpus: LabelledCorpus, split: str, bootstrap: int, seed: int
) -> dict[str, dict[str, LanguageScores]]:
    """Strict scores of both baselines, `gazetteer` and `contexts`, for every language that has train and the split.

    Raises: CorpusError for a broken file.
    """
    scores: dict[str, dict[str, LanguageScores]] = {"gazetteer": {}, "contexts": {}}
    corpus = corpus.in_its_own_words()
    for language in corpus.languages:
        train, sentences = corpus.sentences(language, "train"), corpus.sentences(language, split)
        if not train or not sentences:
            continue
        gold = [corpus.scheme.encode(sentence.tags or ()) for sentence in sentences]
        for name, tag_words in (("gazetteer", learn_names(train)), ("contexts", learn_contexts(train))):
            predicted = [corpus.scheme.encode(tag_words(sentence.words)) for sentence in sentences]
            counts = span_counts(gold, predicted, corpus.scheme)
            scores[name][language] = score_language(counts, corpus.scheme, bootstrap=bootstrap, seed=seed)
    return scores


def learn_names(train: Sequence[Sentence]) -> TagWords:
    """Look names up: what is an entity of train is one everywhere, with its most frequent type, the longest first."""
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for span in spans_of(sentence.tags or ()):
            counts[sentence.words[span.start : span.stop]][span.type] += 1
    types = {name: kinds.most_common(1)[0][0] for name, kinds in counts.items()}
    longest = max(map(len, types), default=0)

    def tag_words(words: Sequence[str]) -> tuple[str, ...]:
        words = tuple(words)
        tags = [OUTSIDE] * len(words)
        start = 0
        while start < len(words):
            lengths = range(min(longest, len(words) - start), 0, -1)
            length = next((n for n in lengths if words[start : start + n] in types), 0)
            if length:
                kind = types[words[start : start + length]]
                tags[start : start + length] = [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
            start += length or 1
        return tuple(tags)

    return tag_words


def learn_contexts(train: Sequence[Sentence]) -> TagWords:
    """Count which tag a word has between which neighbours, names masked; back off where a context is new.

    A word is masked unless train has it twice or more, and in lower case or most often outside entities. So the tagger
    sees where a name is and that it is capitalised, and never which name it is.
    """
    known = _context_words(train)
    scheme = LabelScheme.from_tags(tag for sentence in train for tag in sentence.tags or ())
    counts: dict[_Context, list[int]] = defaultdict(lambda: [0] * len(scheme.tags))
    for sentence in train:
        masked = _mask(sentence.words, known)
        for position, tag in enumerate(scheme.encode(sentence.tags or ())):
            for tier in _TIERS:
                for offsets in tier:
                    counts[_context(masked, position, offsets)][tag] += 1

    def tag_words(words: Sequence[str]) -> tuple[str, ...]:
        masked = _mask(words, known)
        logits = np.zeros((len(words), len(scheme.tags)))
        for position in range(len(words)):
            for tier in _TIERS:
                contexts = [_context(masked, position, offsets) for offsets in tier]
                seen = np.array([counts[context] for context in contexts if context in counts])
                if len(seen):
                    smoothed = seen + _SMOOTHING
                    logits[position] = np.log(smoothed / smoothed.sum(axis=1, keepdims=True)).mean(axis=0)
                    break
        return scheme.decode(decode_tags(logits, scheme))

    return tag_words


def _context_words(train: Sequence[Sentence]) -> frozenset[str]:
    counts = Counter(word for sentence in train for word in sentence.words)
    outside: Counter[str] = Counter()
    for sentence in train:
        outside.update(word for word, tag in zip(sentence.words, sentence.tags or (), strict=True) if tag == OUTSIDE)
    return frozenset(
        word for word, count in counts.items() if count >= 2 and (word.islower() or outside[word] > count / 2)
    )


def _mask(words: Sequence[str], known: frozenset[str]) -> list[str]:
    """Words with placeholders for those that are not `known`, and an edge at either end."""
    masked = [word if word in known else _LOWER if word.islower() else _NAME for word in words]
    return [_EDGE, *masked, _EDGE]


def _context(masked: list[str], position: int, offsets: tuple[int, ...]) -> _Context:
    return offsets, tuple([masked[position + 1 + offset] for offset in offsets])
