"""What a checkpoint's outputs mean under a corpus's scheme, whatever form its labels have.

Labels are matched by name, never by position. Of BIOES and BILOU the last word (`E-`, `L-`) is inside and a single word
(`S-`, `U-`) begins. In IO (`I-PER` or `PER` alone) and IOB1 the word before decides whether an `I-` begins an entity or
continues one: `logits_to_iob2` has the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.labels import OUTSIDE, LabelScheme

LabelMapping = Mapping[str, str | None]
"""Tags or types of a checkpoint, and the tags or types of the corpus that they are; None for `O`."""

Columns = tuple[tuple[int, ...], ...]
"""For every tag of a scheme, the outputs that mean it."""

_IOB2_PREFIXES = {"B": "B", "S": "B", "U": "B", "I": "I", "E": "I", "L": "I"}
_NAMELESS = re.compile(r"LABEL_\d+")
UNLIKELY = float(np.log(1e-3))
"""Log of the probability of the tag that the word before excludes, over that of the type's other tag. A smaller one
would be an outlier among the squared errors of logits."""


def tag_of_label(label: str, mapping: LabelMapping) -> str:
    """The IOB2 tag that a label means; `I-` alone in IO and IOB1. A label without prefix is a type."""
    name = mapping.get(label, label)
    prefix, hyphen, kind = (name or OUTSIDE).partition("-")
    if name in (None, OUTSIDE):
        return OUTSIDE
    if not (hyphen and kind and prefix in _IOB2_PREFIXES):
        return f"I-{name}"
    renamed = kind if label in mapping else mapping.get(kind, kind)
    return OUTSIDE if renamed is None else f"{_IOB2_PREFIXES[prefix]}-{renamed}"


def types_of_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Types that some labels name, in their order; none if they are no tags, such as `LABEL_0`."""
    labels = tuple(labels)
    if OUTSIDE not in labels or any(map(_NAMELESS.fullmatch, labels)):
        return ()
    return tuple(dict.fromkeys(tag[2:] for tag in (tag_of_label(label, {}) for label in labels) if tag != OUTSIDE))


def match_labels(labels: Mapping[int, str], scheme: LabelScheme, mapping: LabelMapping, *, origin: str) -> Columns:
    """For every tag of the scheme, the outputs of a checkpoint that mean it; every type has one for `B-` or `I-`.

    Raises: ModelError that prints both sets and the mapping option when one does not cover the other.
    """
    meaning = {index: tag_of_label(label, mapping) for index, label in sorted(labels.items())}
    columns = tuple(tuple(index for index, meant in meaning.items() if meant == tag) for tag in scheme.tags)
    foreign = [labels[index] for index, tag in meaning.items() if tag not in scheme.tags]
    missing = [OUTSIDE] if not columns[0] else []
    for number in range(1, len(columns), 2):
        missing += scheme.tags[number : number + 2] if not (columns[number] or columns[number + 1]) else ()
    if foreign or missing:
        raise ModelError(
            f"{origin}: labels do not match the corpus. Checkpoint: {', '.join(labels.values())}. "
            f"Corpus: {', '.join(scheme.tags)}. Without a match: {', '.join([*foreign, *missing])}. "
            "Map tags or types with teacher.labels, such as {LABEL_0: O, PERSON: PER, MISC: null} "
            "(null: O), leave types that the checkpoint lacks out with corpus.types, or fine-tune with finetune.epochs "
            "above 0."
        )
    return columns


def inside_begins(columns: Columns) -> bool:
    """Whether some type has outputs for `I-` and none for `B-`, as in IO and often in IOB1."""
    return any(inside and not begin for begin, inside in zip(columns[1::2], columns[2::2], strict=True))


def begins_with_inside(logits: NDArray[np.float32], offsets: NDArray[np.int64]) -> bool:
    """Whether a teacher whose labels fit IOB1 and IOB2 uses them as in IOB1: nearly all entities begin with `I-`.

    Shapes: logits (all words, tags); offsets (sentences + 1,).
    """
    ids = logits.argmax(axis=1)
    kind = (ids + 1) // 2
    before = np.concatenate([[0], kind[:-1]])
    before[offsets[:-1][np.diff(offsets) > 0]] = 0
    starts = ids[(kind > 0) & (kind != before)]
    return bool(len(starts)) and float((starts % 2 == 0).mean()) > 0.9


def logits_to_iob2(logits: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits of IO or IOB1 tags as logits of IOB2, word by word from the left.

    Let b and i be the logits of B-X and I-X; IO has no b. Where the best tag of the word before is of type X, both stay
    as they are: I-X continues, B-X begins the next entity. Elsewhere both begin one: B-X gets log(exp b + exp i). The
    tag that cannot be (B-X after X in IO, I-X elsewhere) gets the other's logit minus log 1000. `O` stays. So every
    type keeps its probability within a thousandth, and the best tags are legal; for IO they are the entities of the
    teacher's own best tags.

    The marginals of IOB2 under independent words, P(B-X) = P(X) (1 - P(X before)), would not do: where the word before
    is in doubt they split X into two tags, and `O` wins with a lower probability than X has.

    Shapes: logits (all words, tags), `NEVER` in the columns that the teacher does not have; offsets (sentences + 1,);
    result (all words, tags).
    """
    result = logits.copy()
    starts, lengths = offsets[:-1], np.diff(offsets)
    before = np.zeros(len(lengths), dtype=np.int64)  # type of the best tag, from 1; 0 for none
    for position in range(int(lengths.max(initial=0))):
        chosen = np.flatnonzero(lengths > position)  # sentences that have a word there
        rows = starts[chosen] + position
        begin, inside = logits[rows, 1::2], logits[rows, 2::2]
        either = np.logaddexp(begin, inside)
        continues = before[chosen, None] == np.arange(1, 1 + begin.shape[1])
        result[rows, 1::2] = np.where(continues, np.maximum(begin, inside + UNLIKELY), either)
        result[rows, 2::2] = np.where(continues, np.maximum(inside, begin + UNLIKELY), either + UNLIKELY)
        before[chosen] = (result[rows].argmax(axis=1) + 1) // 2
    return result
