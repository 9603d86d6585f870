"""report.html: what it shows, that it needs nothing, and that nothing on it can run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from support.tiny_report import RUN, build, entry, rows_of

from xtremedistil_ner.report.html import format_page


class Page(HTMLParser):
    """Tags that a page opens and closes, its attributes, and its text."""

    VOID = ("meta", "line", "circle", "link", "br", "img")

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


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
    found = Page(page)
    assert not {"link", "img", "iframe", "object"} & set(found.tags)
    assert not {"src", "href", "srcset", "data"} & {name for name, _ in found.attributes}
    assert not re.search(r"url\(|@import|https?://", page)


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
    assert rows == [("do-not-ship", "no Norwegian"), ("ship", "en English")]
