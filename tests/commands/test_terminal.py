"""Progress and tables as a person sees them."""

from __future__ import annotations

import io
import pickle
import re
import sys

import pytest

from xtremedistil_ner.commands.doctor import Finding
from xtremedistil_ner.commands.terminal import (
    TerminalReporter,
    format_event,
    format_findings,
    format_models,
    format_table,
    format_tables,
)
from xtremedistil_ner.progress import Event
from xtremedistil_ner.report.caveats import SYNTHETIC
from xtremedistil_ner.report.cells import Table
from xtremedistil_ner.report.model_tables import model_tables


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.time_s = 0.0

    def __call__(self):
        return self.time_s


def lines_of(capsys):
    return capsys.readouterr().err.splitlines()


def test_events_are_time_stamped_lines_where_there_is_no_terminal(capsys):
    with TerminalReporter() as tell:
        tell(Event("train", "stage 2 begins", 30, 120, "updates", {"loss": 0.25, "dev_f1": 0.912345}))
    captured = capsys.readouterr()
    assert captured.out == ""
    time, rest = captured.err[:19], captured.err[20:]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", time)
    assert rest == "train: stage 2 begins: 30/120 updates (25%)  loss 0.25  dev_f1 0.9123\n"


def test_a_thousand_quick_events_make_one_line(capsys):
    tell = TerminalReporter(clock=lambda: 0.0)
    for done in range(1001):
        tell(Event("label", done=done, total=1000))
    assert [line[20:] for line in lines_of(capsys)] == ["label: 0/1000 (0%)"]


def test_a_slow_stage_writes_a_line_every_eight_seconds(capsys):
    clock = Clock()
    tell = TerminalReporter(clock=clock)
    for second in range(25):
        clock.time_s = float(second)
        tell(Event("train", done=second, total=10**6))
    assert [re.search(r"(\d+)/", line).group(1) for line in lines_of(capsys)] == ["0", "8", "16", "24"]


def test_stages_do_not_silence_each_other(capsys):
    tell = TerminalReporter(clock=lambda: 0.0)
    for stage in ("finetune", "pseudolabel"):
        tell(Event(stage, done=1, total=100))
    assert len(lines_of(capsys)) == 2


def test_every_message_is_written(capsys):
    tell = TerminalReporter(clock=lambda: 0.0)
    for message in ("one", "two", "three"):
        tell(Event("export", message))
    assert [line[20:] for line in lines_of(capsys)] == ["export: one", "export: two", "export: three"]


def test_a_quiet_reporter_writes_nothing(capsys):
    with TerminalReporter(quiet=True) as tell:
        tell(Event("train", "begins"))
        pickle.loads(pickle.dumps(tell))(Event("train", "begins"))
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_terminal_gets_a_bar_and_the_messages_as_they_stand(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with TerminalReporter() as tell:
        tell(Event("train", "[PAD] is not markup"))
        tell(Event("train", done=7, total=8, metrics={"loss": 0.5}))
    assert "[PAD] is not markup" in terminal.getvalue()
    assert "7/8" in terminal.getvalue()
    assert "loss 0.5" in terminal.getvalue()


def test_a_terminal_has_one_bar_per_stage_whatever_it_counts(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with TerminalReporter() as tell:
        tell(Event("train", "reads text", done=4096, unit="sentences"))
        tell(Event("train", done=7, total=8, unit="updates"))
        tell(Event("train", "reads text", done=5, unit="sentences"))
        assert len(tell._bars.tasks) == 1
    assert "5/?" in terminal.getvalue()


def test_a_pickled_copy_writes_lines_even_where_there_is_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with TerminalReporter() as tell:
        data = pickle.dumps(tell)
    terminal.truncate(0)
    terminal.seek(0)
    pickle.loads(data)(Event("train", done=7, total=8))
    assert terminal.getvalue()[20:] == "train: 7/8 (88%)\n"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("train"), "train:"),
        (Event("train", "begins"), "train: begins"),
        (Event("train", metrics={"f1": 1.0}), "train: f1 1"),
        (Event("train", done=1, total=3, unit="updates"), "train: 1/3 updates (33%)"),
        (Event("train", "reads text", done=1, unit="sentences"), "train: reads text: 1 sentences"),
    ],
)
def test_a_line_has_what_the_event_has(event, line):
    assert format_event(event) == line


def test_a_tables_columns_are_aligned():
    table = format_table([("lang", "F1", "note"), ("en", "100.00", ""), ("de-x", "9.00", "short")])
    assert table.splitlines() == ["lang      F1  note", "en    100.00", "de-x    9.00  short"]


LANGUAGE = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 7, "f1_low": 0.6, "f1_high": 0.7, "words_lost": 2}


def test_scores_show_every_language_and_the_macro_mean():
    lines = format_tables(model_tables({"macro_f1": 2 / 3, "languages": {"no": LANGUAGE}})).splitlines()
    assert re.split(r" {2,}", lines[1]) == ["no", "50.00", "100.00", "66.67", "60.00–70.00", "7", "2"]
    assert re.split(r" {2,}", lines[2]) == ["macro", "66.67"]


def test_models_are_columns_and_synthetic_ones_are_marked():
    teacher = {"parameters": 1000, "macro_f1": 0.8, "languages": {"en": {**LANGUAGE, "f1": 0.8}}}
    student = {"parameters": 50, "macro_f1": 0.6, "languages": {"en": {**LANGUAGE, "f1": 0.6}}}
    report = {
        "synthetic": True,
        "models": {"teacher": teacher, "student": student},
        "retention": {"macro": 0.75, "languages": {"en": 0.75}},
        "compression": 20.0,
    }
    lines = format_models(report).splitlines()
    assert [re.split(r" {2,}", line) for line in lines] == [
        ["language", "teacher", "student", "retention"],
        ["English (en)", "80.00", "60.00 (60.00–70.00)", "75.00"],
        ["macro", "80.00", "60.00", "75.00"],
        ["parameters", "1,000", "50"],
        ["The student has 20.0x fewer parameters."],
        [SYNTHETIC],
    ]


def test_models_of_different_languages_say_so():
    models = {
        "teacher": {"parameters": 1000, "macro_f1": 0.8, "languages": {"en": LANGUAGE, "tl": LANGUAGE}},
        "student": {"parameters": 50, "macro_f1": 0.6, "languages": {"en": LANGUAGE}},
    }
    lines = format_models({"synthetic": False, "models": models}).splitlines()
    assert lines[-1].startswith("The student has no model for tl.")


def test_a_teacher_alone_is_shown_without_retention():
    model = {"parameters": 1000, "macro_f1": 0.8, "languages": {"en": LANGUAGE}}
    lines = format_models({"synthetic": False, "models": {"teacher": model}}).splitlines()
    assert [line.split() for line in lines] == [
        ["language", "teacher", "retention"],
        ["English", "(en)", "66.67", "–"],
        ["macro", "80.00", "–"],
        ["parameters", "1,000"],
    ]


def test_scores_of_the_papers_protocol_follow_the_strict_ones():
    paper = {"macro_f1": 0.75, "languages": {"no": {"precision": 1.0, "recall": 0.6, "f1": 0.75, "support": 5}}}
    entry = {"macro_f1": 2 / 3, "languages": {"no": LANGUAGE}, "paper_protocol": paper}
    lines = format_tables(model_tables(entry)).splitlines()
    assert lines[4].startswith("papers' protocol")
    assert lines[5].split() == ["no", "100.00", "60.00", "75.00", "5"]
    assert lines[6].split() == ["macro", "75.00"]


def test_compared_tables_stand_below_each_other_with_titles_and_notes():
    tables = [Table("", ("", "a"), (("x", "1"),)), Table("Second", ("", "b"), (("y", "2"),), "A note.")]
    assert format_tables(tables).splitlines() == ["   a", "x  1", "", "Second", "   b", "y  2", "A note."]


def test_findings_are_a_line_each():
    lines = format_findings([Finding("python", "ok", "3.11.9"), Finding("disk", "warning", "1 GB free")]).splitlines()
    assert [line.split(maxsplit=2) for line in lines[1:]] == [
        ["python", "ok", "3.11.9"],
        ["disk", "warning", "1 GB free"],
    ]
