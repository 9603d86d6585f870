"""The page of a comparison: its answer, its tables, that it needs nothing, and that nothing on it can run."""

from __future__ import annotations

import json
import re

import pytest
from support.compared_runs import compared, write_run, write_seeds
from support.html_page import Page, assert_self_contained

from xtremedistil_ner.report.compare_page import format_comparison
from xtremedistil_ner.report.compare_tables import comparison_tables


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    first = write_seeds(folder, "D0-S", (60, 61, 62), strategy="D0-S")
    better = write_seeds(folder, "D1", (81, 80, 82))
    worse = write_seeds(folder, "hard", (30, 31, 33), strategy="hard")
    equal = write_seeds(folder, "D2", (59, 63, 62), strategy="D2")
    untested = write_run(folder / "D3.1", right=70, counts=False)
    return compared(*first, *better, *worse, *equal, untested)


def section(page, title):
    """The part of a page under a heading, up to the next one."""
    return re.split("<h[12]>", page.split(f"<h2>{title}</h2>")[1])[0]


def rows_under(page, title):
    """The cells of each row of the table under a heading."""
    rows = section(page, title).split("<tr>")[2:]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_the_page_opens_with_the_students_that_differ_by_more_than_chance(found):
    page = format_comparison(found)
    answer = section(page, "D1, hard differ from D0-S by more than chance")
    sentences = re.findall("<p>(.*?)</p>", answer)
    assert [sentence.split(" (")[0] for sentence in sentences] == [
        "Better than D0-S: D1",
        "Worse than D0-S: hard",
        "No difference beyond chance: D2",
        "Not tested: D3.1",
    ]
    difference = found["groups"]["D1"]["difference"]
    low, high = (f"{100 * difference[end]:+.2f}" for end in ("low", "high"))
    assert sentences[0] == f"Better than D0-S: D1 (+20.00, {low} to {high})."
    assert sentences[3] == "Not tested: D3.1 (D3.1 has no counts per sentence)."


@pytest.mark.parametrize(
    ("right", "options", "heading"),
    [
        (60, {}, "No student differs from one by more than chance"),
        (90, {}, "two differs from one by more than chance"),
        (90, {"counts": False}, "No difference could be tested"),
    ],
)
def test_the_heading_is_the_answer(tmp_path, right, options, heading):
    page = format_comparison(
        compared(write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=right, **options))
    )
    assert f"<h2>{heading}</h2>" in page
    assert "One seed each" in page


def test_seeds_of_one_student_have_nothing_to_differ_from(tmp_path):
    page = format_comparison(compared(*write_seeds(tmp_path, "D1", (60, 61, 62))))
    assert "<h2>All runs are seeds of D1</h2>" in page
    assert re.findall("<h2>(.*?)</h2>", page)[1:] == ["Students", "Languages"]


def test_every_cell_of_the_text_is_on_the_page_with_students_as_rows(found):
    page = format_comparison(found)
    numbers, languages, differences = comparison_tables(found)
    students = rows_under(page, "Students")
    assert [row[0] for row in students] == ["teacher", "D0-S", "D1", "hard", "D2", "D3.1"]
    assert list(zip(*students, strict=True))[1:] == [row[1:] for row in numbers.rows]
    assert rows_under(page, "Differences") == [list(row) for row in differences.rows]
    assert sorted(rows_under(page, "Languages")) == sorted(list(row) for row in languages.rows)


def test_the_language_where_a_student_is_worst_comes_first(tmp_path):
    runs = [write_run(tmp_path / name, right=60, languages=("en", "no", "de")) for name in ("one", "two")]
    for run, values in zip(runs, ((0.9, 0.8, 0.7), (0.5, 0.6, 0.7)), strict=True):
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        for code, f1 in zip(("en", "no", "de"), values, strict=True):
            report["models"]["student"]["languages"][code]["f1"] = f1
        (run / "report.json").write_text(json.dumps(report), encoding="utf-8")
    rows = rows_under(format_comparison(compared(*runs)), "Languages")
    assert [row[0] for row in rows] == ["English (en)", "Norwegian (no)", "German (de)"]


def test_settings_that_differ_are_on_the_page_and_equal_ones_are_not(found):
    rows = rows_under(format_comparison(found), "Settings that differ")
    assert rows == [["train.strategy", "D0-S", "D1", "hard", "D2", "–"]]


def test_the_page_needs_nothing_from_elsewhere_and_is_light_or_dark(found):
    page = format_comparison(found)
    assert_self_contained(page)
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert page.count('<table class="sortable">') == 4


def test_names_and_settings_are_escaped(tmp_path):
    hostile = "<script>alert('x')<!--&"
    runs = [
        write_run(tmp_path / name, right=60, strategy=name, recipe={"train": {"strategy": name}})
        for name in ("one", hostile)
    ]
    page = format_comparison(compared(*runs))
    assert page.count("<script") == 1, "our own"
    assert hostile in " ".join(Page(page).text)


@pytest.mark.parametrize("synthetic", [False, True])
def test_the_page_says_when_numbers_are_synthetic_and_only_then(tmp_path, synthetic):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=60, synthetic=synthetic)]
    assert ("Synthetic data" in format_comparison(compared(*runs))) is synthetic
