"""A run beside the one that was shipped last: which changes count as worse."""

from __future__ import annotations

import math

from support.tiny_report import build, entry

from xtremedistil_ner.report.baseline import baseline_table, compare_with_baseline


def report_of(parameters=100, **right):
    """A student that finds so many of 200 entities of PER in each language."""
    student = entry(parameters, **{code: [[found, found, 200], [0, 0, 0]] for code, found in right.items()})
    return build(student, student)


def worse(before, after, **speed):
    return compare_with_baseline(after, before, **speed)["worse"]


def test_equal_runs_and_small_falls_are_not_worse():
    assert worse(report_of(en=180), report_of(en=180)) == []
    assert worse(report_of(en=180), report_of(en=170)) == [], "five points of 200 entities may be chance"
    assert worse(report_of(en=150), report_of(en=190)) == []


def test_a_fall_beyond_chance_is_named_with_its_language_and_type():
    assert worse(report_of(en=180, no=180), report_of(en=180, no=140)) == ["no: recall of PER fell from 90.00 to 70.00"]


def test_the_chance_of_a_fall_is_that_of_two_shares_by_hand():
    # pooled 0.8, error sqrt(0.8 * 0.2 * 2 / 200) = 0.04, so 0.9 to 0.7 is five standard errors
    (cell,) = compare_with_baseline(report_of(en=140), report_of(en=180))["recall"]
    assert math.isclose(cell["p"], 0.5 * math.erfc(5 / math.sqrt(2)), rel_tol=1e-9)


def test_the_test_is_for_all_cells_together():
    """A fall from 90 to 82.5 % has p = 0.014: more than chance alone, and none among ten."""
    assert worse(report_of(en=180), report_of(en=165))
    ten = dict.fromkeys([f"q{letter}" for letter in "abcdefghij"], 180)
    assert worse(report_of(**ten), report_of(**{**ten, "qa": 165})) == []


def test_lost_languages_and_growth_are_worse():
    assert worse(report_of(en=180, no=180), report_of(en=180)) == ["no scores of no"]
    assert worse(report_of(parameters=100, en=180), report_of(parameters=109, en=180)) == []
    assert worse(report_of(parameters=100, en=180), report_of(parameters=120, en=180)) == [
        "parameters grew from 100 to 120"
    ]


def test_a_type_that_is_gone_or_cannot_be_scored_any_more_is_worse():
    """A language that is gone is named once, not with its types."""
    before, after = report_of(en=180, no=180), report_of(en=180, no=180)
    languages = after["models"]["student"]["languages"]
    del languages["en"]["types"]["PER"]
    assert worse(before, after) == ["no scores of PER in en"]
    languages["no"]["types"]["PER"]["support"] = 0
    assert worse(before, after) == ["no scores of PER in en, PER in no"]
    assert worse(report_of(en=180), before) == [], "a language more"
    del languages["en"]
    assert worse(before, after) == ["no scores of en", "no scores of PER in no"]


def speed(name, median, *, processor="one"):
    return {
        "stage": "tag",
        "exports": {name: "f"},
        "machine": {"processor": processor, "threads": 1},
        "raw_text": {"sentences_per_s": {f"{name} int8": {"q1": median - 5, "median": median, "q3": median + 5}}},
    }


def test_speed_is_compared_on_one_kind_of_processor_alone():
    before, after = report_of(en=180), report_of(en=180)
    slow = {"baseline_speed": [speed("old", 1000)], "speed": [speed("new", 500)]}
    assert worse(before, after, **slow) == ["int8 fell from 1,000 to 500 sentences/s"]
    assert worse(before, after, **{**slow, "speed": [speed("new", 980)]}) == []
    assert worse(before, after, **{**slow, "speed": [speed("new", 500, processor="two")]}) == []


def test_the_table_says_what_became_worse_and_shows_the_largest_fall_first():
    table = baseline_table(compare_with_baseline(report_of(en=180, no=140), report_of(en=182, no=180)))
    assert table.note.startswith("Worse than the baseline: no: recall of PER")
    assert table.rows[1] == ("recall of PER, Norwegian (no)", "90.00", "70.00")
