from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from xtremedistil_ner.errors import CorpusError, UsageError
from xtremedistil_ner.labels import (
    LabelScheme,
    Span,
    decode_sentences,
    decode_tags,
    legal_spans,
    spans_of,
    split_tag,
    tag_format,
    to_iob2,
)

properties = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

TYPES = ("LOC", "ORG", "PER")
SCHEME = LabelScheme(TYPES)


def tags_with(prefixes: str, *, max_size: int = 10) -> st.SearchStrategy[list[str]]:
    names = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in TYPES)]
    return st.lists(st.sampled_from(names), max_size=max_size)


@st.composite
def segmented_sentences(draw: st.DrawFn) -> list[tuple[int, str]]:
    """Draw a sentence as (length, type) segments in order; type "" is a stretch of outside words."""
    return draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(("", *TYPES))), max_size=6))


def written(segments: list[tuple[int, str]], form: str) -> list[str]:
    """Write segments as tags, directly from the definition of each format."""
    tags: list[str] = []
    previous = ""
    for length, kind in segments:
        if not kind:
            tags += ["O"] * length
        elif form == "IOB1":
            tags += [f"{'B' if kind == previous else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif form == "IOB2":
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        else:
            single, last = ("S", "E") if form == "BIOES" else ("U", "L")
            middle = [f"I-{kind}"] * (length - 2)
            tags += [f"{single}-{kind}"] if length == 1 else [f"B-{kind}", *middle, f"{last}-{kind}"]
        previous = kind
    return tags


def is_legal(tags: tuple[str, ...]) -> bool:
    pairs = zip(("O", *tags), tags, strict=False)
    return all(previous in (f"B-{tag[2:]}", tag) for previous, tag in pairs if tag[0] == "I")


def test_tags_are_outside_then_begin_and_inside_of_each_type_in_order() -> None:
    assert LabelScheme(("PER", "LOC")).tags == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_a_scheme_from_tags_sorts_the_types_of_any_format() -> None:
    assert LabelScheme.from_tags(["O", "I-PER", "S-LOC", "B-PER", "E-GEO-X"]).types == ("GEO-X", "LOC", "PER")
    assert LabelScheme.from_tags(["O"]).tags == ("O",)


def test_allowed_transitions_are_the_table_of_iob2() -> None:
    scheme = LabelScheme(("X", "Y"))
    allowed = [
        # O  B-X I-X B-Y I-Y     next
        [1, 1, 0, 1, 0],  # after O
        [1, 1, 1, 1, 0],  # after B-X
        [1, 1, 1, 1, 0],  # after I-X
        [1, 1, 0, 1, 1],  # after B-Y
        [1, 1, 0, 1, 1],  # after I-Y
    ]
    assert scheme.may_follow.astype(int).tolist() == allowed
    assert scheme.may_start.astype(int).tolist() == [1, 1, 0, 1, 0]


def test_the_transition_tables_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        SCHEME.may_follow[0, 2] = True
    with pytest.raises(ValueError, match="read-only"):
        SCHEME.may_start[2] = True


@properties
@given(tags_with("BI"))
def test_encode_and_decode_are_inverse(tags: list[str]) -> None:
    ids = SCHEME.encode(tags)
    assert (ids.dtype, ids.shape) == (np.int16, (len(tags),))
    assert SCHEME.decode(ids) == tuple(tags)


def test_an_unknown_tag_is_named_together_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'B-MISC'.*O, B-LOC, I-LOC"):
        SCHEME.encode(["O", "B-MISC"])


@pytest.mark.parametrize("number", [-1, -100, 7])
def test_an_id_outside_the_scheme_has_no_name(number: int) -> None:
    with pytest.raises(UsageError, match=f"tag id {number}"):
        SCHEME.decode([0, number])


@pytest.mark.parametrize("types", [("PER", "PER"), ("",), ("P ER",), ("PER\t",)])
def test_types_that_cannot_be_told_apart_or_written_are_refused(types: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        LabelScheme(types)


def test_equal_schemes_are_equal_hashable_and_survive_pickling() -> None:
    assert LabelScheme(TYPES) == SCHEME
    assert len({LabelScheme(TYPES), SCHEME}) == 1
    assert pickle.loads(pickle.dumps(SCHEME)) == SCHEME


@pytest.mark.parametrize(
    "tag", ["", "B", "B-", "PER", "b-PER", "B_PER", "X-PER", "-PER", "B-P ER", "OO", "O-PER", "I-\n"]
)
def test_what_is_not_a_tag_is_refused(tag: str) -> None:
    with pytest.raises(CorpusError, match="is not a tag"):
        split_tag(tag)


@pytest.mark.parametrize("form", ["IOB1", "IOB2", "BIOES", "BILOU"])
@properties
@given(segments=segmented_sentences())
def test_every_format_reads_back_the_entities_it_was_written_from(form: str, segments: list[tuple[int, str]]) -> None:
    read, repaired = to_iob2(written(segments, form), format="BIOES" if form == "BILOU" else form)
    assert (read, repaired) == (tuple(written(segments, "IOB2")), 0)


@pytest.mark.parametrize("form", ["IOB1", "IOB2", "BIOES", "BILOU"])
@properties
@given(file=st.lists(segmented_sentences(), max_size=5))
def test_the_format_of_a_file_is_found_or_does_not_matter(form: str, file: list[list[tuple[int, str]]]) -> None:
    sentences = [written(segments, form) for segments in file]
    found = tag_format(sentences)
    expected = "BIOES" if form == "BILOU" else form
    entities = [segment for segments in file for segment in segments if segment[1]]
    assert found == (expected if entities else "IOB2")


def test_stray_inside_tags_do_not_turn_an_iob2_file_into_iob1() -> None:
    assert tag_format([["O", "I-PER"], ["O", "I-LOC"], ["B-PER", "O"]]) == "IOB2"


def test_b_between_neighbours_of_one_type_is_iob1() -> None:
    assert tag_format([["I-PER", "B-PER", "O", "I-LOC", "I-PER"]]) == "IOB1"


@properties
@given(tags_with("BI"))
def test_a_repair_changes_only_stray_inside_tags_and_counts_each(tags: list[str]) -> None:
    read, repaired = to_iob2(tags, format="IOB2")
    changed = [(old, new) for old, new in zip(tags, read, strict=True) if old != new]
    assert is_legal(read)
    assert repaired == len(changed)
    assert all(old[0] == "I" and new == f"B-{old[2:]}" for old, new in changed)
    assert to_iob2(read, format="IOB2") == (read, 0)
    assert (repaired == 0) == is_legal(tuple(tags))


@properties
@given(tags_with("BIES"))
def test_a_repaired_sentence_has_the_entities_of_seqevals_lenient_reading(tags: list[str]) -> None:
    read, _ = to_iob2(tags, format="BIOES")
    lenient = [(start, last + 1, kind) for kind, start, last in get_entities(tags)]
    assert [(span.start, span.stop, span.type) for span in spans_of(read)] == lenient


@pytest.mark.parametrize(("end", "single"), ["ES", "LU"])
def test_an_inside_tag_after_an_end_or_a_single_is_a_counted_repair(end: str, single: str) -> None:
    tags = [f"{prefix}-X" for prefix in ("B", end, "I", end, end, single, "I")]
    assert to_iob2(tags, format="BIOES") == (("B-X", "I-X", "B-X", "I-X", "B-X", "B-X", "B-X"), 3)


@pytest.mark.parametrize("tag", ["S-PER", "E-PER", "U-PER", "L-PER"])
def test_iob2_refuses_tags_of_other_formats(tag: str) -> None:
    with pytest.raises(CorpusError, match=f"'{tag}' is not a tag of IOB2"):
        to_iob2(["O", tag], format="IOB2")


@properties
@given(tags_with("BI"))
def test_spans_are_those_of_seqevals_strict_iob2(tags: list[str]) -> None:
    expected = tuple(Span(entity.start, entity.end, entity.tag) for entity in Entities([tags], scheme=IOB2).entities[0])
    assert spans_of(tags) == expected
    assert spans_of(SCHEME.encode(tags), SCHEME) == expected


def legal_paths(n_words: int, scheme: LabelScheme) -> list[tuple[int, ...]]:
    paths = itertools.product(range(len(scheme.tags)), repeat=n_words)
    return [path for path in paths if is_legal(tuple(scheme.tags[number] for number in path))]


TWO_TYPES = LabelScheme(("X", "Y"))
LEGAL_PATHS = {n_words: np.array(legal_paths(n_words, TWO_TYPES)) for n_words in range(1, 5)}


@properties
@given(st.integers(1, 4).flatmap(lambda n: hnp.arrays(np.float64, (n, 5), elements=st.integers(-4, 4))))
def test_decoding_finds_the_best_of_all_legal_paths(logits: np.ndarray) -> None:
    paths = LEGAL_PATHS[len(logits)]
    path_scores = logits[np.arange(len(logits)), paths].sum(axis=1)
    decoded = decode_tags(logits, TWO_TYPES)
    assert is_legal(TWO_TYPES.decode(decoded))
    assert logits[np.arange(len(logits)), decoded].sum() == path_scores.max()


@properties
@given(
    st.integers(1, 4).flatmap(lambda n: hnp.arrays(np.float64, (n, 5), elements=st.integers(-4, 4))),
    hnp.arrays(np.float64, (6, 5), elements=st.integers(-3, 3)),
    st.sampled_from([1, 3]),
)
def test_decoding_with_transitions_finds_the_best_of_all_legal_paths(
    logits: np.ndarray, transitions: np.ndarray, sureness: int
) -> None:
    """Sure logits mostly outweigh the transitions, which is a short cut; both ways must find the best path."""
    logits = logits * sureness
    paths = LEGAL_PATHS[len(logits)]
    previous = np.concatenate([np.zeros((len(paths), 1), dtype=int), paths[:, :-1] + 1], axis=1)
    path_scores = logits[np.arange(len(logits)), paths].sum(axis=1) + transitions[previous, paths].sum(axis=1)
    decoded = decode_tags(logits, TWO_TYPES, transitions)
    found = np.flatnonzero((paths == decoded).all(axis=1))
    assert len(found) == 1, "the decoded path is not legal"
    assert path_scores[found[0]] == path_scores.max()


@pytest.mark.parametrize("with_transitions", [True, False])
@properties
@given(
    logits=st.integers(0, 3).flatmap(
        lambda n_types: hnp.arrays(np.float32, st.tuples(st.integers(0, 8), st.just(2 * n_types + 1)))
    )
)
def test_decoding_is_legal_for_every_input_even_infinite_or_nan(logits: np.ndarray, with_transitions: bool) -> None:
    scheme = LabelScheme(TYPES[: logits.shape[1] // 2])
    n_tags = logits.shape[1]
    transitions = np.random.default_rng(0).normal(size=(n_tags + 1, n_tags)) if with_transitions else None
    decoded = decode_tags(logits, scheme, transitions)
    assert (decoded.dtype, decoded.shape) == (np.int16, logits.shape[:1])
    assert is_legal(scheme.decode(decoded))


def test_transitions_join_what_the_logits_would_part() -> None:
    """Over the second word O and I-X are even but for 1; going on from B-X is worth 2 more than leaving it."""
    logits = np.array([[0.0, 9, 0, 0, 0], [5, 0, 4, 0, 0]])
    transitions = np.zeros((6, 5))
    transitions[1 + 1, 2] = 2
    assert TWO_TYPES.decode(decode_tags(logits, TWO_TYPES)) == ("B-X", "O")
    assert TWO_TYPES.decode(decode_tags(logits, TWO_TYPES, transitions)) == ("B-X", "I-X")


def test_an_illegal_transition_counts_for_nothing_however_high_its_score() -> None:
    logits = np.array([[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
    transitions = np.zeros((6, 5))
    transitions[0, 2] = transitions[1 + 0, 4] = transitions[1 + 1, 4] = 1e6
    assert TWO_TYPES.decode(decode_tags(logits, TWO_TYPES, transitions)) == ("O", "B-X")


def test_transitions_of_another_scheme_are_refused() -> None:
    with pytest.raises(UsageError, match=r"transitions of shape \(7, 7\)"):
        decode_tags(np.zeros((3, 7)), SCHEME, np.zeros((7, 7)))


@properties
@given(tags_with("BI", max_size=8), st.integers(0, 2**32 - 1), st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_legal_argmax_is_the_answer(tags: list[str], seed: int, dtype: type[np.floating]) -> None:
    ids = SCHEME.encode(to_iob2(tags, format="IOB2")[0])
    logits = np.random.default_rng(seed).normal(size=(len(ids), len(SCHEME.tags))).astype(dtype)
    logits[np.arange(len(ids)), ids] = 8
    assert decode_tags(logits, SCHEME).tolist() == ids.tolist()


def test_an_inside_tag_wins_only_with_what_it_needs_before_it() -> None:
    #                    O  B-X I-X B-Y I-Y
    weak = np.array([[9.0, 0, 0, 0, 0], [0, 5, 6, 0, 0]])
    assert TWO_TYPES.decode(decode_tags(weak, TWO_TYPES)) == ("O", "B-X")
    strong = np.array([[9.0, 8, 0, 0, 0], [0, 1, 6, 0, 0]])
    assert TWO_TYPES.decode(decode_tags(strong, TWO_TYPES)) == ("B-X", "I-X")


def test_logits_of_another_scheme_are_refused() -> None:
    with pytest.raises(UsageError, match="7 tags"):
        decode_tags(np.zeros((3, 5)), SCHEME)


def best_path(logits: np.ndarray, transitions: np.ndarray | None) -> np.ndarray:
    """Viterbi of one sentence, tag by tag."""
    scores = np.zeros((8, 7)) if transitions is None else transitions.astype(np.float64)
    scores = np.where(np.concatenate([SCHEME.may_start[None], SCHEME.may_follow]), scores, -np.inf)
    paths = [([tag], scores[0, tag] + logits[0, tag]) for tag in range(7)] if len(logits) else [([], 0.0)]
    for word in logits[1:].astype(np.float64):
        steps = [[(path, score + scores[1 + path[-1], tag]) for path, score in paths] for tag in range(7)]
        bests = [max(step, key=lambda of: of[1]) for step in steps]
        paths = [([*path, tag], score + word[tag]) for tag, (path, score) in enumerate(bests)]
    return np.array(max(paths, key=lambda of: of[1])[0], dtype=np.int16)


@properties
@given(
    st.lists(st.integers(0, 12), max_size=6), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.0, 2.0, 6.0])
)
def test_many_sentences_are_decoded_as_each_by_itself(
    lengths: list[int], seed: int, with_transitions: bool, outside: float
) -> None:
    """From sentences that all have an illegal argmax to sentences that mostly have none."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(sum(lengths), 7)).astype(np.float32)
    logits[:, 0] += outside
    transitions = random.normal(size=(8, 7)).astype(np.float32) if with_transitions else None
    offsets = np.cumsum([0, *lengths])
    parts = np.split(logits, offsets[1:-1]) if lengths else []
    expected = [best_path(part, transitions) for part in parts]
    assert [decode_tags(part, SCHEME, transitions).tolist() for part in parts] == [part.tolist() for part in expected]
    ids = decode_sentences(logits, offsets, SCHEME, transitions)
    assert [part.tolist() for part in np.split(ids, offsets[1:-1])][: len(parts)] == [
        part.tolist() for part in expected
    ]
    begins, ends = legal_spans(ids)
    spans = [
        (start + span.start, start + span.stop)
        for start, part in zip(offsets, expected, strict=False)
        for span in spans_of(part, SCHEME)
    ]
    assert list(zip(begins.tolist(), ends.tolist(), strict=True)) == spans


def test_tags_in_the_order_of_a_model_give_its_scheme():
    assert LabelScheme.from_ordered_tags(iter(["O", "B-X", "I-X", "B-A", "I-A"])).types == ("X", "A")


@pytest.mark.parametrize("tags", [[], ["O", "I-X", "B-X"], ["B-X", "I-X", "O"], ["O", "B-X"]])
def test_tags_in_another_order_are_refused(tags):
    with pytest.raises(UsageError, match=r"the tags are .*\. Expected O"):
        LabelScheme.from_ordered_tags(tags)
