"""The papers' tables in the package, held by what the papers say of them as a whole."""

from __future__ import annotations

import statistics

import pytest

from xtremedistil_ner.languages import WIKIANN_LANGUAGES
from xtremedistil_ner.report.paper import NOTE, language_values, paper_values, papers_beside

F1_COLUMNS = ("mmner_hsup", "mmner_lsup", "mmner_rare", "mbert_per_language", "mbert_joint", "xtremedistil")
MBERT_MILLIONS = 179  # 119,547 pieces


def test_there_is_a_row_for_each_of_the_41_languages():
    assert tuple(language_values()) == WIKIANN_LANGUAGES
    assert all(set(row) == {"train", "test", *F1_COLUMNS} for row in language_values().values())


@pytest.mark.parametrize("column", F1_COLUMNS)
def test_the_mean_of_a_column_is_the_one_that_the_table_gives(column):
    """Of 41 values rounded to whole numbers the mean is off by 0.045 (one standard deviation); allow two."""
    mean = statistics.mean(row[column] for row in language_values().values())
    assert mean == pytest.approx(paper_values()["mean"][column], abs=0.09)


def test_the_sentences_add_up_to_those_of_the_table():
    sums = [sum(row[column] for row in language_values().values()) for column in ("train", "test")]
    assert sums == paper_values()["mean"]["sentences"] == [705, 329]


def test_the_deviation_over_languages_is_the_one_of_the_size_table():
    best = dict(zip(paper_values()["sizes"]["columns"], paper_values()["sizes"]["rows"][0], strict=True))
    f1 = [row["xtremedistil"] for row in language_values().values()]
    assert statistics.pstdev(f1) == pytest.approx(best["sd"], abs=0.1)
    assert best["f1"] == paper_values()["mean"]["xtremedistil"]


def test_parameters_times_compression_is_mbert_in_every_row():
    sizes = paper_values()["sizes"]
    assert len(sizes["rows"]) == 16
    for row in sizes["rows"]:
        values = dict(zip(sizes["columns"], row, strict=True))
        assert values["parameters"] * values["compression"] == pytest.approx(MBERT_MILLIONS, rel=0.01)


def test_the_best_strategy_is_the_best_student():
    strategies = dict(paper_values()["strategies"])
    assert strategies.pop("transfer_sentences") == ["0.7M", "1.4M", "7.2M"]
    assert all(len(row["f1"]) == len(row["sd"]) for row in strategies.values())
    assert {name: len(row["f1"]) for name, row in strategies.items() if len(row["f1"]) != 3} == {"D0": 1, "D0-S": 1}
    best = max(value for row in strategies.values() for value in row["f1"])
    assert best == strategies["D4.2"]["f1"][1] == paper_values()["mean"]["xtremedistil"]


def test_values_beside_a_run_are_shares_of_its_languages_and_marked():
    found = papers_beside({"hub": "unimelb-nlp/wikiann", "revision": "x"}, ["af", "en", "xx"])
    assert found["note"] == NOTE == "papers' values (their protocol, not comparable with strict scores)"
    assert found["languages"] == {
        "af": {"mbert_joint": 0.91, "xtremedistil": 0.87},
        "en": {"mbert_joint": 0.84, "xtremedistil": 0.78},
    }
    assert found["mean"] == pytest.approx({"mbert_joint": 0.9186, "xtremedistil": 0.8864})
    assert found["mean_of_these"] == pytest.approx({"mbert_joint": 0.875, "xtremedistil": 0.825})
