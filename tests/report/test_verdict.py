"""The verdict: the rule by hand, what is undecided, and what a check ends with."""

from __future__ import annotations

import json
import shutil

import pytest
from support.tiny_report import RUN, build, entry

from xtremedistil_ner.__main__ import main
from xtremedistil_ner.commands.terminal import format_models
from xtremedistil_ner.report.markdown import format_report
from xtremedistil_ner.report.stored import read_report
from xtremedistil_ner.report.verdict import judge
from xtremedistil_ner.run_folder.artefacts import sealed

ENTITIES = 200


def judged(*, low, high, support=ENTITIES, f1=0.8, rule=None, bootstrap=100, macro=None):
    """The verdict on a student whose languages have these intervals of retention, all with one F1."""
    model = entry(10, **{code: [[support, support, support], [0, 0, 0]] for code in low})
    run = {**RUN, "recipe": {"evaluate": {"bootstrap": bootstrap, "ship": rule or {}}}}
    report = build(model, model, run=run)
    for scores in report["models"]["student"]["languages"].values():
        scores.update(f1=f1, f1_low=f1 - 0.05, f1_high=f1 + 0.05)
    report["retention"]["intervals"] = {code: {"low": low[code], "high": high[code]} for code in low}
    report["retention"]["languages"] = {code: (low[code] + high[code]) / 2 for code in low}
    report["retention"]["macro_low"], report["retention"]["macro_high"] = macro or (0.96, 0.98)
    return judge(report)


def outcomes(verdict):
    return {code: value["verdict"] for code, value in verdict["languages"].items()}


def test_a_language_is_judged_by_both_ends_of_its_interval():
    verdict = judged(low={"en": 0.95, "no": 0.94, "tl": 0.90}, high={"en": 0.99, "no": 0.95, "tl": 0.9499})
    assert outcomes(verdict) == {"en": "ship", "no": "undecided", "tl": "do not ship"}
    assert verdict["act_on"] == ["tl", "no"], "the worst first"
    assert "all below 95.0 %" in verdict["languages"]["tl"]["reason"]


def test_one_unfit_language_forbids_the_whole_and_is_named_although_the_mean_is_good():
    whole = judged(low={"en": 0.97, "tl": 0.5}, high={"en": 0.99, "tl": 0.6})["whole"]
    assert whole["verdict"] == "do not ship"
    assert whole["reason"].startswith("the student falls short in tl")


@pytest.mark.parametrize(
    ("macro", "expected"), [((0.96, 0.98), "ship"), ((0.94, 0.96), "undecided"), ((0.90, 0.94), "do not ship")]
)
def test_without_an_unfit_language_the_mean_decides(macro, expected):
    assert judged(low={"en": 0.94}, high={"en": 0.99}, macro=macro)["whole"]["verdict"] == expected


def test_few_entities_and_no_resamples_leave_it_undecided():
    few = judged(low={"en": 0.1}, high={"en": 0.2}, support=49)
    assert outcomes(few) == {"en": "undecided"}
    assert "49 entities, and the rule asks for 50" in few["languages"]["en"]["reason"]
    assert few["whole"]["verdict"] == "undecided", "whatever its mean"
    without = judged(low={"en": 0.97}, high={"en": 0.97}, bootstrap=0)
    assert outcomes(without) == {"en": "undecided"}
    assert without["whole"]["verdict"] == "undecided"


def test_a_least_f1_is_judged_beside_retention_and_alone():
    both = judged(low={"en": 0.97}, high={"en": 0.99}, f1=0.6, rule={"min_f1": 0.7})
    assert outcomes(both) == {"en": "do not ship"}
    assert both["languages"]["en"]["reason"] == "F1 60.0 % (55.0–65.0), all below 70.0 %"
    alone = judged(low={"en": 0.5}, high={"en": 0.6}, f1=0.8, rule={"min_f1": 0.7, "retention": None})
    assert outcomes(alone) == {"en": "ship"}


def test_markdown_and_terminal_say_the_verdict_and_the_languages():
    teacher = entry(10, en=[[90, 90, 90], [0, 0, 0]], tl=[[90, 90, 90], [0, 0, 0]])
    student = entry(10, en=[[90, 90, 90], [0, 0, 0]], tl=[[9, 90, 90], [0, 0, 0]])
    report = build(teacher, student)
    for text in (format_report(report), format_models(report)):
        assert "DO NOT SHIP: the student falls short in tl" in text
        assert "SHIP: 1 language (en)." in text
    assert "| Tagalog (tl) | DO NOT SHIP | retention 10.0 % (10.0–10.0), all below 95.0 % | PER: 100.00 to 10.00 |" in (
        format_report(report)
    )


@pytest.fixture
def cli(monkeypatch, capfd):
    """Run `xner` with these arguments; its exit code and both streams."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["xner", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capfd.readouterr()

    return run


@pytest.fixture
def run_copy(finished_run, tmp_path):
    shutil.copytree(finished_run / "run", tmp_path / "run")
    return tmp_path / "run"


def with_verdict(run, outcome):
    report = read_report(run)
    del report["seal"]
    report["verdict"]["whole"] = {"verdict": outcome, "reason": "so it is"}
    (run / "report.json").write_text(json.dumps(sealed(report)), encoding="utf-8")


@pytest.mark.parametrize(("outcome", "code"), [("ship", 0), ("undecided", 6), ("do not ship", 6)])
def test_a_check_ends_with_zero_only_for_ship(cli, run_copy, outcome, code):
    with_verdict(run_copy, outcome)
    ended, _, err = cli("report", str(run_copy), "--check")
    assert ended == code
    assert (f"{outcome.upper()}: so it is." in err) == (code == 6)
    assert cli("report", str(run_copy))[0] == 0, "without --check nothing fails"


def test_a_report_of_an_earlier_version_is_judged_when_it_is_shown(cli, run_copy):
    report = read_report(run_copy)
    for key in ("seal", "verdict", "slices", "examples"):
        del report[key]
    del report["run"]["training"]
    for model in report["models"].values():
        for key in ("macro_low", "macro_high", "operating_points"):
            del model[key]
    (run_copy / "report.json").write_text(json.dumps(sealed(report)), encoding="utf-8")
    ended, out, _ = cli("report", str(run_copy), "--json")
    assert ended == 0
    assert set(json.loads(out)["verdict"]["languages"]) == {"en", "no"}


def test_a_check_against_a_baseline_fails_where_it_was_better(cli, run_copy, tmp_path):
    with_verdict(run_copy, "ship")
    shutil.copytree(run_copy, tmp_path / "shipped")
    assert cli("report", str(run_copy), "--check", "--baseline", str(tmp_path / "shipped"))[0] == 0
    report = read_report(tmp_path / "shipped")
    del report["seal"]
    report["models"]["student"]["parameters"] //= 2
    (tmp_path / "shipped" / "report.json").write_text(json.dumps(sealed(report)), encoding="utf-8")
    ended, out, err = cli("report", str(run_copy), "--check", "--baseline", str(tmp_path / "shipped"), "--json")
    assert ended == 6
    assert "parameters grew" in err
    assert json.loads(out)["baseline"]["worse"]
