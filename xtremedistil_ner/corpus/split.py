"""One labelled split, and the checks and conversions that all formats share.

Readers are strict, because a corpus that is silently misread costs a training run. They report the first 20 problems
of a split at once. Lines of text count from 1, rows of tables from 0, as in `pandas` and `datasets`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.errors import CorpusError, quoted
from xtremedistil_ner.labels import OUTSIDE, tag_format, to_iob2
from xtremedistil_ner.names import is_type

SPLITS = ("train", "dev", "test")
MAX_PROBLEMS = 20
LINE, ROW = ":", ", row "
"""What a message writes between the name of a split and a number: `en/dev.tsv:7`, `en/dev.parquet, row 7`."""
SPAN_FATES = {
    "widened": "widened to whole words",
    "trimmed": "trimmed of white space",
    "overlapping": "left out for a longer or earlier one",
    "blank": "left out for having no word",
    "discontinuous": "left out for being in several parts",
    "other": "of another kind left out",
    "other_annotators": "by a further annotator left out",
    "utf16": "counted in UTF-16 units",
}
"""What may become of an annotation by character offsets, and how messages say it."""
_TAG = re.compile(r"[BIESLU]-\S+")


@dataclass(frozen=True, slots=True)
class LabelledSplit:
    """One labelled split; the tags of its sentences are IOB2, whatever format its files have.

    `repaired_tags` counts inside tags that continued no entity and now begin one, `skipped_lines` comments, document
    marks and rows without a word. `tag_lines` gives the line or row in which each tag, as written, first occurs;
    messages write `location` before that number. `note` says how the file was read if that is not obvious.
    """

    location: str
    sentences: tuple[Sentence, ...]
    tag_format: str
    repaired_tags: int
    skipped_lines: int
    tag_lines: Mapping[str, int]
    note: str = ""
    spans: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class SplitRows:
    """The part of a split that has been read so far, and its problems.

    `name` is the name of the split in messages, `short_name` in the ids of its sentences. `sentences` have their first
    line or row, their words, and their tags as written; `passed_over` counts texts by why they give none. Equal words
    are stored once, and so are equal sequences of tags, in `taggings`: a file of 10 MB then takes 30 MB instead of 100.
    """

    name: str
    short_name: str
    unit: str = LINE
    sentences: list[tuple[int, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    taggings: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tag_lines: dict[str, int] = field(default_factory=dict)
    skipped_lines: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    note: str = ""
    spans: Counter[str] = field(default_factory=Counter)

    @property
    def are_hopeless(self) -> bool:
        """Whether as many problems are noted as a message can have, so that reading can stop."""
        return len(self.problems) >= MAX_PROBLEMS

    def report(self, number: int, message: str) -> None:
        """Note a problem of a line or row."""
        self.problems.append(f"{self.name}{self.unit}{number}: {message}")

    def pass_over(self, reason: str) -> None:
        """Skip a text; the reason follows a number of texts in the message."""
        self.skipped_lines += 1
        self.passed_over[reason] += 1

    def add(self, number: int, words: Iterable[str], tags: Iterable[str]) -> None:
        """Take a sentence whose words and tags were checked."""
        tagging = tuple(tags)
        self.sentences.append((number, tuple(map(intern, words)), self.taggings.setdefault(tagging, tagging)))

    def add_record(self, number: int, words: object, tags: object, *, tag_names: Sequence[str] | None = None) -> None:
        """Take a sentence from a table or a JSON object, or note why that is impossible.

        `tag_names`: the names of numbered tags; None if tags are text. A row without words is skipped.
        """
        if words == [] and tags == []:
            self.skipped_lines += 1
            return
        try:
            checked = check_words(words)
            written = _check_tags(tags, len(checked), tag_names)
        except CorpusError as error:
            self.report(number, str(error))
            return
        for tag in written:
            self.tag_lines.setdefault(tag, number)
        self.add(number, checked, written)

    def finish(self, language: str) -> LabelledSplit:
        """Convert the tags to IOB2. If all words have the prefix `<language>:`, as in PAN-X, it is removed.

        Raises: CorpusError with the problems noted so far, and if no sentence was read.
        """
        prefix = f"{language}:"
        if not all(word.startswith(prefix) for _, words, _ in self.sentences for word in words):
            prefix = ""
        for number, words, _ in self.sentences if prefix else ():
            if prefix in words:
                position = words.index(prefix) + 1
                self.report(number, f"word {position} is empty after {prefix}. Leave it and its tag out.")
        if not self.problems and not self.sentences:
            start = f"{self.name}:1:1" if self.unit == LINE else self.name
            texts = ", ".join(f"{count:,} {reason}" for reason, count in self.passed_over.items())
            passed = f"; texts passed over: {texts}" if texts else ""
            self.problems.append(f"{start}: no sentence in this file{passed}. Remove it or fill it.")
        if self.problems:
            raise CorpusError("\n".join(self.problems[:MAX_PROBLEMS]))
        scheme = tag_format(sorted(self.taggings))  # far fewer than sentences
        converted = {tags: to_iob2(tags, format=scheme) for tags in self.taggings}
        sentences: list[Sentence] = []
        repaired = 0
        self.sentences.reverse()
        while self.sentences:  # so that memory never has all of them twice: short sentences of 10 MB take 400 MB
            number, words, tags = self.sentences.pop()
            iob2, repairs = converted[tags]
            repaired += repairs
            cut = tuple([word[len(prefix) :] for word in words]) if prefix else words
            sentences.append(Sentence(f"{self.short_name}:{number}", language, cut, iob2))
        return LabelledSplit(
            location=f"{self.name}{self.unit}",
            sentences=tuple(sentences),
            tag_format=scheme,
            repaired_tags=repaired,
            skipped_lines=self.skipped_lines,
            tag_lines=dict(self.tag_lines),
            note=self.note,
            spans=dict(+self.spans),
        )


def format_spans(counts: Mapping[str, int]) -> str:
    """What became of annotations by character offsets; empty if all were taken as they are."""
    return ", ".join(f"{counts[fate]:,} {meaning}" for fate, meaning in SPAN_FATES.items() if counts.get(fate))


def is_tag(text: str) -> bool:
    """Whether a text is a tag of any format."""
    return text == OUTSIDE or (_TAG.fullmatch(text) is not None and is_type(text[2:]))


def check_words(words: object) -> list[str]:
    """The words of one sentence, if they are words.

    Raises: CorpusError that says what they are instead; the caller adds the location.
    """
    if not isinstance(words, list):
        raise CorpusError(f"the words are {_describe(words)}, not a list. Give one text per word.")
    for position, word in enumerate(words, start=1):
        if not isinstance(word, str):
            raise CorpusError(f"word {position} is {_describe(word)}, not a text. Give one text per word.")
        if not word:
            raise CorpusError(f"word {position} is empty. Leave it out, and its tag too.")
        if "\n" in word or "\r" in word:
            raise CorpusError(f"word {position}, {quoted(word)}, has a line end. Split it into words.")
    text = "".join(words)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise CorpusError("a word has half a surrogate pair, which UTF-8 cannot have. Write the whole character.")
    return words


def _check_tags(tags: object, n_words: int, tag_names: Sequence[str] | None) -> list[str]:
    if not isinstance(tags, list):
        raise CorpusError(f"the tags are {_describe(tags)}, not a list. Give one tag per word.")
    if len(tags) != n_words:
        raise CorpusError(f"{n_words} words but {len(tags)} tags. Give one tag per word.")
    return [_check_tag(tag) if tag_names is None else _named(tag, tag_names) for tag in tags]


def _check_tag(tag: object) -> str:
    if isinstance(tag, int):
        raise CorpusError(f"tag {quoted(tag)} is a number without a name. Write names such as B-LOC.")
    if not isinstance(tag, str) or not is_tag(tag):
        raise CorpusError(f"{quoted(tag)} is no tag. Write O, or B- or I- and an entity type.")
    return tag


def _named(tag: object, names: Sequence[str]) -> str:
    if not isinstance(tag, int) or not 0 <= tag < len(names):
        raise CorpusError(
            f"{quoted(tag)} is no tag. Tags are numbers from 0, {names[0]}, to {len(names) - 1}, {names[-1]}."
        )
    return _check_tag(names[tag])


def _describe(value: object) -> str:
    names = {type(None): "missing", str: "a text", dict: "an object", list: "a list", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
