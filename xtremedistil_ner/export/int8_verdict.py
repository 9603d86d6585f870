"""What int8 costs a student on its dev split, and whether its graph may be published.

Both graphs tag the dev sentences as a service does, through the tagger, in its batches and with its decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.evaluation.bootstrap import Counts, has_entities
from xtremedistil_ner.evaluation.scoring import micro_f1, span_counts
from xtremedistil_ner.progress import Event, Reporter, silent
from xtremedistil_ner.tagging.tagger import Tagger

MAX_MACRO_DROP = 0.003
NOTABLE_DROP = 0.01


@dataclass(frozen=True, slots=True)
class Int8Verdict:
    """Strict dev F1 by language, from 0 to 1, of the float32 and the int8 graph; `forced`: publish it in any case."""

    float32: Mapping[str, float]
    int8: Mapping[str, float]
    forced: bool = False

    @property
    def macro_drop(self) -> float | None:
        """Mean loss over languages, negative where int8 is better; none without an entity in dev."""
        if not self.float32:
            return None
        return sum(self.float32[code] - self.int8[code] for code in self.float32) / len(self.float32)

    @property
    def is_good(self) -> bool:
        """Whether the mean loss is known and at most 0.3 points."""
        return self.macro_drop is not None and self.macro_drop <= MAX_MACRO_DROP + 1e-9

    @property
    def is_published(self) -> bool:
        """Whether the export has the int8 graph."""
        return self.forced or self.is_good

    @property
    def dropping(self) -> list[str]:
        """The languages that lose more than one point."""
        return [code for code in self.float32 if self.float32[code] - self.int8[code] > NOTABLE_DROP + 1e-9]

    def to_json(self) -> dict[str, Any]:
        """The entry in the manifest."""
        return {
            "published": self.is_published,
            "forced": self.forced and not self.is_good,
            "macro_drop": self.macro_drop,
            "dev_f1": {code: {"float32": self.float32[code], "int8": self.int8[code]} for code in self.float32},
        }


def judge_int8(
    float32: Tagger,
    int8: Tagger,
    corpus: LabelledCorpus,
    *,
    languages: Collection[str],
    forced: bool,
    tell: Reporter = silent,
) -> Int8Verdict:
    """Tag the dev split of those of `languages` that have an entity in it, with both graphs."""

    def told(graph: str, codes: Collection[str]) -> Iterator[str]:
        for number, code in enumerate(codes):
            tell(Event("export", f"{graph} graph on dev", done=number, total=len(codes), unit="languages"))
            yield code
        tell(Event("export", f"{graph} graph on dev", done=len(codes), total=len(codes), unit="languages"))

    before = {code: _dev_counts(float32, corpus, code) for code in told("float32", languages)}
    judged = [code for code, counts in before.items() if has_entities(counts)]
    after = {code: _dev_counts(int8, corpus, code) for code in told("int8", judged)}
    return Int8Verdict(
        {code: micro_f1(before[code]) for code in judged}, {code: micro_f1(after[code]) for code in judged}, forced
    )


def _dev_counts(tagger: Tagger, corpus: LabelledCorpus, language: str) -> Counts:
    sentences = corpus.sentences(language, "dev")
    gold = [tagger.scheme.encode(sentence.tags or ()) for sentence in sentences]
    predicted = [tagger.scheme.encode(tags) for tags in tagger.tag_words([sentence.words for sentence in sentences])]
    return span_counts(gold, predicted, tagger.scheme)
