"""Two baselines of the demo corpus that learn nothing about contexts, so that its scores can be read.

    PYTHONPATH=. python data/baselines.py [FOLDER]

`names` tags every stretch that is an entity of train, in whatever context. `capitals` tags every run of capitalised
words that does not begin the sentence, with the most frequent type of train.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.labels import spans_of
from xtremedistil_ner.recipe import CorpusSection
from xtremedistil_ner.scoring import macro, score_language, span_counts

TagWords = Callable[[Sequence[str]], list[str]]


def main(folder: str) -> None:
    """Print macro-F1 and F1 per language of both baselines on dev and test."""
    corpus = open_corpus(CorpusSection(path=folder))
    for name, learn in (("names", learn_names), ("capitals", learn_capitals)):
        taggers = {language: learn(corpus.sentences(language, "train")) for language in corpus.languages}
        for split in ("dev", "test"):
            scores = {}
            for language, tag_words in taggers.items():
                sentences = corpus.sentences(language, split)
                gold = [corpus.scheme.encode(sentence.tags or ()) for sentence in sentences]
                predicted = [corpus.scheme.encode(tag_words(sentence.words)) for sentence in sentences]
                counts = span_counts(gold, predicted, corpus.scheme)
                scores[language] = score_language(counts, corpus.scheme, bootstrap=1, seed=0)
            each = "  ".join(f"{language} {score.f1:.3f}" for language, score in scores.items())
            sys.stdout.write(f"{name:9} {split:5} macro {macro(scores)[0]:.3f}  {each}\n")


def learn_names(train: Sequence[Sentence]) -> TagWords:
    """Tag what is an entity in train, the longest first."""
    types = {
        tuple(sentence.words[span.start : span.stop]): span.type
        for sentence in train
        for span in spans_of(sentence.tags or ())
    }
    longest = max(map(len, types))

    def tag_words(words: Sequence[str]) -> list[str]:
        tags = ["O"] * len(words)
        start = 0
        while start < len(words):
            lengths = range(min(longest, len(words) - start), 0, -1)
            length = next((n for n in lengths if tuple(words[start : start + n]) in types), 0)
            if length:
                tags[start : start + length] = _tags(types[tuple(words[start : start + length])], length)
            start += length or 1
        return tags

    return tag_words


def learn_capitals(train: Sequence[Sentence]) -> TagWords:
    """Tag capitalised runs after the first word, all with the type that train has most of."""
    kind = Counter(span.type for sentence in train for span in spans_of(sentence.tags or ())).most_common(1)[0][0]

    def tag_words(words: Sequence[str]) -> list[str]:
        tags = ["O"] * len(words)
        start = 1
        while start < len(words):
            stop = start
            while stop < len(words) and words[stop][0].isupper():
                stop += 1
            tags[start:stop] = _tags(kind, stop - start)
            start = stop + 1
        return tags

    return tag_words


def _tags(kind: str, length: int) -> list[str]:
    return [f"B-{kind}", *[f"I-{kind}"] * (length - 1)][:length]


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "demo"))
