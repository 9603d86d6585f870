"""Slices add up to the whole, and examples show what each model found."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.evaluation.scoring import span_counts
from xtremedistil_ner.evaluation.tagged_split import (
    SLICES,
    TaggedSplit,
    cell_examples,
    count_slices,
    slice_entries,
    training_surfaces,
    worst_cells,
)
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.recipe.data_sections import CorpusSection

SCHEME = LabelScheme(("PER", "LOC"))


def tagged(*rows):
    """A split of sentences written as (words, gold, teacher, student), the tags as digits."""
    columns = list(zip(*rows, strict=True))
    ids = (np.array([int(digit) for tags in column for digit in tags], dtype=np.int16) for column in columns[1:])
    return TaggedSplit([words.split() for words in columns[0]], SCHEME, *ids)


@st.composite
def sentences(draw):
    words = draw(st.lists(st.sampled_from(("Ada", "ADA", "ada", "عدن", "7")), min_size=1, max_size=35))

    def tags():
        found, before = [], 0
        for _ in words:
            allowed = [0, 1, 3, *([2] if before in (1, 2) else []), *([4] if before in (3, 4) else [])]
            before = draw(st.sampled_from(allowed))
            found.append(str(before))
        return "".join(found)

    return " ".join(words), tags(), tags(), tags()


@given(st.lists(sentences(), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_the_slices_of_each_group_add_up_to_the_strict_counts(rows):
    split = tagged(*rows)
    borders = split.offsets[1:-1]
    gold = np.split(split.gold, borders)
    counts = count_slices(split, {("Ada",)})
    for name in ("teacher", "student"):
        whole = span_counts(gold, np.split(getattr(split, name), borders), SCHEME).sum(axis=(0, 1))
        for parts in SLICES.values():
            assert sum(counts[name][part] for part in parts).tolist() == whole.tolist()


def test_an_entity_is_in_the_slice_of_its_words_and_its_sentence():
    long = " ".join(["x"] * 29)
    split = tagged(
        ("Ada met BOB", "101", "101", "100"),
        (f"{long} عدن", "0" * 29 + "3", "0" * 30, "0" * 29 + "3"),
        ("ada", "1", "1", "1"),
    )
    student = count_slices(split, {("Ada",)})["student"]
    assert {part: row.tolist() for part, row in student.items()} == {
        "seen in training": [1, 1, 1],
        "not seen in training": [2, 2, 3],
        "all capitals": [0, 0, 1],
        "some capitals": [1, 1, 1],
        "no capitals": [1, 1, 1],
        "script without case": [1, 1, 1],
        "under 30 words": [2, 2, 3],
        "30 words or more": [1, 1, 1],
    }
    seen = slice_entries([{"teacher": student, "student": student}])[0]
    assert seen["student"] == {"correct": 1, "predicted": 1, "gold": 1, "f1": 1.0}


def test_examples_are_sorted_by_who_is_right_and_mark_all_entities():
    split = tagged(
        ("Ada", "1", "1", "0"), ("Bob", "1", "0", "1"), ("in Rome", "03", "00", "01"), ("Eve", "1", "0", "3")
    )
    found = cell_examples(split, "PER", 20)
    assert found["outcomes"] == {"both": 0, "teacher alone": 1, "student alone": 1, "neither": 1}
    assert [(one["outcome"], one["words"]) for one in found["examples"]] == [
        ("teacher alone", ["Ada"]),
        ("student alone", ["Bob"]),
        ("neither", ["Eve"]),
    ]
    assert found["examples"][2]["student"] == [{"start": 0, "stop": 1, "type": "LOC"}]
    assert cell_examples(split, "PER", 1)["examples"] == found["examples"][:1]


def test_a_long_example_is_cut_around_its_entity():
    words = [f"w{number}" for number in range(200)]
    row = ["0"] * 200
    row[150] = "1"
    split = tagged((" ".join(words), "".join(row), "0" * 200, "0" * 200))
    (example,) = cell_examples(split, "PER", 3)["examples"]
    assert len(example["words"]) == 60
    (span,) = example["gold"]
    assert example["words"][span["start"] : span["stop"]] == ["w150"]


def test_the_worst_cells_are_those_that_lose_most_and_rare_ones_come_last():
    def entry(**f1):
        cells = {"PER": {"f1": f1["per"], "support": 50}, "LOC": {"f1": f1["loc"], "support": f1.get("n", 50)}}
        return {"languages": {"en": {"types": cells}}}

    assert worst_cells(entry(per=0.9, loc=0.9), entry(per=0.8, loc=0.5), 2) == [("en", "LOC"), ("en", "PER")]
    assert worst_cells(entry(per=0.9, loc=0.9), entry(per=0.8, loc=0.5, n=9), 1) == [("en", "PER")]


def test_entities_of_training_have_the_words_of_the_other_splits(tmp_path):
    (tmp_path / "tr").mkdir()
    (tmp_path / "tr" / "train.tsv").write_text("Bern'de\tB-LOC\nAnn\tB-PER\nLee\tI-PER\n", encoding="utf-8")
    corpus = open_corpus(CorpusSection(path=str(tmp_path), split_words=True))
    assert training_surfaces(corpus) == {("Bern'de",), ("Ann", "Lee")}
