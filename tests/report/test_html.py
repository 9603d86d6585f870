"""report.html: what it shows, that it needs nothing, and that nothing on it can run."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

import pytest
from support.html_page import Page, assert_self_contained
from support.tiny_report import RUN, build, entry, rows_of

from xtremedistil_ner.report.charts import reliability_chart, training_curves
from xtremedistil_ner.report.html import format_page


@pytest.fixture(scope="module")
def page(finished_run):
    return (finished_run / "run" / "report.html").read_text(encoding="utf-8")


def test_the_page_has_what_the_markdown_has(page, finished_run):
    found = Page(page)
    assert found.open == []
    text = " ".join(found.text)
    for row in rows_of((finished_run / "run" / "report.md").read_text(encoding="utf-8")):
        assert all(cell in text for cell in row if not cell.startswith("---"))


def test_the_page_needs_nothing_from_elsewhere(page):
    assert_self_contained(page)


def test_the_only_script_is_the_one_that_sorts_and_the_policy_names_its_hash(page):
    assert Page(page).tags.count("script") == 1
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    assert script == (files("xtremedistil_ner.report") / "sort_tables.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in page


def test_the_page_is_light_or_dark_and_its_tables_have_headers(page):
    assert "prefers-color-scheme: dark" in page
    assert page.count("<table") == page.count("<thead>") > 4
    assert ("scope", "col") in Page(page).attributes
    assert ("scope", "row") in Page(page).attributes


def test_every_value_on_the_page_is_escaped():
    hostile = "<script>alert('x')</script>&\"|"
    model = entry(1000, en=[[1, 2, 2], [1, 2, 2]])
    model["languages"][hostile] = model["languages"]["en"]
    run = {**RUN, "name": hostile, "strategy": hostile, "recipe": {"name": hostile}}
    report = build(model, model, run=run)
    report["data"]["corpus"] = {"path": hostile}
    page = format_page(report)
    assert page.count("<script") == 1, "our own"
    found = Page(page)
    assert found.tags.count("script") == 1
    assert hostile in " ".join(found.text)


@pytest.mark.parametrize("synthetic", [False, True])
def test_the_page_says_when_numbers_are_synthetic_and_only_then(synthetic):
    model = entry(1000, en=[[1, 2, 2], [1, 2, 2]])
    assert ("Synthetic data" in format_page(build(model, model, synthetic=synthetic))) is synthetic


def test_the_plot_has_a_mark_with_its_interval_for_every_score():
    teacher = entry(10, en=[[2, 2, 2], [2, 2, 2]], tl=[[2, 2, 2], [2, 2, 2]])
    page = format_page(build(teacher, entry(10, en=[[1, 2, 2], [1, 2, 2]])))
    titles = re.findall(r"<title>(.*?)</title><line", page)
    whole, half = "100.00 (100.00–100.00)", "50.00 (50.00–50.00)"
    assert titles == [f"teacher {whole}", f"student {half}", f"teacher {whole}"], "two of en, one of tl"


def test_the_page_opens_with_the_verdict_and_the_worst_language_comes_first():
    teacher = entry(10, en=[[60, 60, 60], [0, 0, 0]], no=[[60, 60, 60], [0, 0, 0]])
    student = entry(10, en=[[60, 60, 60], [0, 0, 0]], no=[[6, 60, 60], [0, 0, 0]])
    page = format_page(build(teacher, student))
    assert page.index("<h2>DO NOT SHIP</h2>") < page.index("<dl")
    strips = page[page.index("<h2>Languages</h2>") :]
    rows = re.findall(r'<tr class="([a-z-]+)">\s*<th scope="row">(.*?)</th>', strips)
    assert rows == [("do-not-ship", "Norwegian (no)"), ("ship", "English (en)")]


def example(outcome, words, **spans):
    found = {name: spans.get(name, []) for name in ("gold", "teacher", "student")}
    return {"outcome": outcome, "words": words, **found}


def page_with(*examples):
    model = entry(10, en=[[1, 2, 2], [1, 2, 2]])
    report = build(model, model)
    outcomes = {"both": 0, "teacher alone": 1, "student alone": 0, "neither": 0}
    cell = {"language": "he", "type": "PER", "outcomes": outcomes, "examples": list(examples)}
    return format_page({**report, "examples": [cell]})


def test_an_example_marks_what_each_says_and_lays_its_direction_out_by_the_text():
    span = {"start": 1, "stop": 3, "type": "PER"}
    page = page_with(example("teacher alone", ["פגש", "אורי", "יצחק", "."], gold=[span], teacher=[span]))
    assert Page(page).open == []
    lines = re.findall(r'<span class="who">(.*?)</span><bdi dir="auto" class="sentence">(.*?)</bdi>', page)
    assert lines == [
        ("corpus, teacher", "פגש <mark>אורי יצחק <small>PER</small></mark>."),
        ("student", "פגש אורי יצחק."),
    ]


def test_words_and_types_of_an_example_are_escaped():
    hostile = "<script>alert(1)</script>"
    page = page_with(example("neither", [hostile, "x"], gold=[{"start": 0, "stop": 1, "type": "<img>"}]))
    assert page.count("<script") == 1
    assert "img" not in Page(page).tags
    assert hostile in " ".join(Page(page).text)


def test_scores_and_looks_are_drawn_in_the_axes():
    model = entry(10, en=[[1, 2, 2], [1, 2, 2]])
    rows = [{"low": 0.9, "high": 1.0, "entities": 4, "score": 1.0, "precision": 0.5}]
    model["calibration"] = {"error": 0.5, "bins": rows}
    looks = [{"phase": "labels", "update": total, "total": total, "score": total / 40} for total in (0, 10, 20)]
    report = build(model, model, run={**RUN, "training": {"student": looks}})
    chart = reliability_chart(report)
    (x, y), *_ = chart.lines[0].points
    assert (x, y) == (chart.right, (chart.top + chart.bottom) / 2)
    ((name, curve),) = training_curves(report)
    assert (name, curve.lines[0].name, curve.borders) == ("student, F1 on dev", "labels", ())
    assert curve.lines[0].points[0] == (curve.left, curve.bottom)
    assert curve.lines[0].points[2] == (curve.right, (curve.top + curve.bottom) / 2)
    assert format_page(report).count("<polyline") == 3, "two models, one student"


def test_the_loss_is_drawn_on_powers_of_ten_and_the_borders_of_phases_are_marked():
    """States are compared in the first phase: its error is no F1."""
    model = entry(10, en=[[1, 2, 2], [1, 2, 2]])
    looks = [
        {"phase": "representation", "update": 0, "total": 0, "score": -120.0},
        {"phase": "representation", "update": 10, "total": 10, "loss": 100.0, "score": -90.0},
        {"phase": "logits", "update": 0, "total": 10, "score": 0.0},
        {"phase": "logits", "update": 10, "total": 20, "loss": 0.1, "score": 0.5},
    ]
    report = build(model, model, run={**RUN, "training": {"student": looks}})
    (_, f1), (name, loss) = training_curves(report)
    assert name == "student, training loss"
    middle = (loss.left + loss.right) / 2
    assert f1.borders == loss.borders == ((middle, "logits begins"),)
    assert [(line.name, line.colour) for line in f1.lines] == [("logits", 1)]
    assert [(line.name, line.colour) for line in loss.lines] == [("representation", 0), ("logits", 1)]
    assert [text for _, text in loss.y_ticks] == ["0.1", "1", "10", "100", "1000"]
    height = loss.bottom - loss.top
    assert [line.points for line in loss.lines] == [
        ((middle, loss.bottom - height * 3 / 4),),
        ((loss.right, loss.bottom),),
    ]
    page = format_page(report)
    assert page.count('<line class="border"') == 2
    assert Page(page).open == []


def test_training_that_was_never_scored_on_dev_shows_its_loss():
    model = entry(10, en=[[1, 2, 2], [1, 2, 2]])
    looks = [{"phase": "labels", "update": total, "total": total, "loss": 3 / total} for total in (1, 2, 3)]
    ((name, curve),) = training_curves(build(model, model, run={**RUN, "training": {"student": looks}}))
    assert (name, len(curve.lines[0].points)) == ("student, training loss", 3)
    assert [text for _, text in curve.y_ticks] == ["1", "2", "5"]
