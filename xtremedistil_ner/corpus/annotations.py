"""Words and tags made from entities that are marked by character offsets, as annotation tools save them.

The rules, each counted where it applies: an entity takes every word that it touches, so an offset inside a word widens
the entity; white space at its borders is cut off; if entities share a word, the longest is kept, then the first. Each
line of a text is a sentence, but a line end inside an entity does not end the sentence.

Offsets count code points, as Python does, or UTF-16 units, as JavaScript and some versions of doccano and Label Studio
do. They differ only after a character such as an emoji, and no file says which it uses. So the texts of a file that
have such characters are read both ways, and code points are used unless more entities fit their words with UTF-16.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from xtremedistil_ner.corpus.split import SplitRows, format_spans, is_tag
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import CorpusError, quoted

Word = tuple[str, int, int]
_MOST_BITS = 53  # of an exact whole number in JavaScript
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_BLANKS = re.compile(r"(?:\s|\\n|\\r)+")


@dataclass(frozen=True, slots=True)
class TextSpan:
    """An entity of a text as a tool marked it; `text` is the tool's copy of the marked text, if it has one.

    Units: start and end as the file counts them.
    """

    start: int
    end: int
    type: str
    location: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text and its entities; `number` is its line, row or document in the split."""

    number: int
    text: str
    spans: tuple[TextSpan, ...]


def make_span(start: object, end: object, entity_type: object, location: str, text: object = None) -> TextSpan:
    """A span of checked values; white space in the name of its type becomes `_`.

    Raises: CorpusError that says what is wrong; the caller adds the location.
    """
    for offset in (start, end):
        if not isinstance(offset, int) or isinstance(offset, bool) or offset.bit_length() > _MOST_BITS:
            raise CorpusError(f"offset {quoted(offset)} is no whole number that fits. Count characters from 0.")
    name = "_".join(entity_type.split()) if isinstance(entity_type, str) else ""
    if not is_tag(f"B-{name}"):
        raise CorpusError(f"{quoted(entity_type)} is no entity type. Give its name.")
    return TextSpan(start, end, name, location, text if isinstance(text, str) else None)  # type: ignore[arg-type]


def add_annotated(rows: SplitRows, texts: Sequence[AnnotatedText]) -> None:
    """Take the sentences of texts, count changes to their entities, and report entities that do not fit their text."""
    if _counts_utf16(texts):
        rows.spans["utf16"] += sum(len(text.spans) for text in texts if _ASTRAL.search(text.text))
        texts = [_in_code_points(text) for text in texts]
    for text in texts:
        problems = [problem for span in text.spans if (problem := _problem(text.text, span))]
        rows.problems += problems
        if rows.are_hopeless:
            return
        if not problems:
            _add_sentences(rows, text)
    fates = format_spans(rows.spans)
    rows.note = f"annotations by character offsets: {fates}" if fates else ""


def _add_sentences(rows: SplitRows, text: AnnotatedText) -> None:
    words = split_words(text.text)
    if not words:
        rows.pass_over("without a word")
    tags = _tag_words(words, text, rows.spans)
    start = 0
    for end in _sentence_ends(text.text, words, tags):
        rows.add(text.number, (word for word, _, _ in words[start:end]), tags[start:end])
        start = end
    for tag in tags:
        rows.tag_lines.setdefault(tag, text.number)


def _tag_words(words: Sequence[Word], text: AnnotatedText, counts: Counter[str]) -> list[str]:
    tags = ["O"] * len(words)
    starts, ends = [start for _, start, _ in words], [end for _, _, end in words]
    longest_first = sorted(text.spans, key=lambda span: (span.start - span.end, span.start))
    for span in longest_first:
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first == last:
            counts["blank"] += 1
        elif any(tag != "O" for tag in tags[first:last]):
            counts["overlapping"] += 1
        else:
            counts["widened"] += starts[first] < span.start or ends[last - 1] > span.end
            counts["trimmed"] += starts[first] > span.start or ends[last - 1] < span.end
            tags[first:last] = [f"B-{span.type}", *[f"I-{span.type}"] * (last - first - 1)]
    return tags


def _sentence_ends(text: str, words: Sequence[Word], tags: Sequence[str]) -> Iterator[int]:
    """Where sentences end, in words."""
    for position, ((_, _, end), (_, start, _)) in enumerate(pairwise(words), start=1):
        if "\n" in text[end:start] and not tags[position].startswith("I-"):
            yield position
    if words:
        yield len(words)


def _problem(text: str, span: TextSpan) -> str | None:
    """What is wrong with a span, if anything."""
    entity = f"{span.location}: entity {span.start} to {span.end}"
    if not 0 <= span.start < span.end <= len(text):
        return f"{entity} does not lie in its text of {len(text)} characters. Correct the offsets."
    if not _has_its_text(text, span):
        actual = quoted(text[span.start : span.end])
        return f"{entity} should be {quoted(span.text)}, but the text has {actual}. Export text and entities together."
    return None


def _has_its_text(text: str, span: TextSpan) -> bool:
    """Whether the marked text is the tool's copy of it, but for white space."""
    return span.text is None or _BLANKS.sub("", span.text) == _BLANKS.sub("", text[span.start : span.end])


def _counts_utf16(texts: Sequence[AnnotatedText]) -> bool:
    astral = [text for text in texts if text.spans and _ASTRAL.search(text.text)]
    return sum(map(_fitting, map(_in_code_points, astral))) > sum(map(_fitting, astral))


def _fitting(text: AnnotatedText) -> int:
    """How many entities begin and end with words, and have the text that they should have."""
    words = split_words(text.text)
    starts, ends = {start for _, start, _ in words}, {end for _, _, end in words}
    return sum(s.start in starts and s.end in ends and _has_its_text(text.text, s) for s in text.spans)


def _in_code_points(text: AnnotatedText) -> AnnotatedText:
    """The text with offsets converted from UTF-16 units; an offset inside a character becomes its start.

    With the text `😀 b` the offsets 0 to 4 become 0, 0, 1, 2, 3.
    """
    code_points = [index for index, character in enumerate(text.text) for _ in range(1 + (character > "\uffff"))]
    code_points.append(len(text.text))
    beyond = len(text.text) + 1

    def convert(offset: int) -> int:
        return code_points[offset] if 0 <= offset < len(code_points) else beyond

    return replace(text, spans=tuple(replace(s, start=convert(s.start), end=convert(s.end)) for s in text.spans))
