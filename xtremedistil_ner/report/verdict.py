"""May the student be shipped, and for which languages? One rule, judged on the 95 % intervals.

A report holds all that is judged, so that reports without a verdict get one too. A language is fit if the lower end of
each interval reaches its bound, and unfit if the upper end of one does not. In between, and with too few entities, the
test set cannot tell. A mean may hide a language: the whole is fit only if no language is unfit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from xtremedistil_ner.languages import count_languages
from xtremedistil_ner.recipe.schema import ShipSection

Outcome = Literal["ship", "undecided", "do not ship"]
OUTCOMES: tuple[Outcome, ...] = ("do not ship", "undecided", "ship")
"""The worst first."""

_Bounds = tuple[str, float | None, float | None, float | None, float | None]
"""What is judged; its value and the ends of its interval; the least value that is fit."""


def verdict_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of a report; one that has none is judged by the rule of its recipe, or by the default rule."""
    return dict(report["verdict"]) if report.get("verdict") else judge(report)


def judge(report: Mapping[str, Any]) -> dict[str, Any]:
    """The `verdict` of report.json: rule, whole, languages, and which languages to act on, the worst first."""
    section = report.get("run", {}).get("recipe", {}).get("evaluate", {})
    rule: dict[str, Any] = {**ShipSection().model_dump(), **section.get("ship", {})}
    languages = _judge_languages(report, rule)
    if not has_intervals(report):
        languages = dict.fromkeys(languages, _undecided("evaluate.bootstrap is 0, so that there are no intervals"))
    return {
        "rule": rule,
        "whole": _judge_whole(report, rule, languages),
        "languages": languages,
        "act_on": [code for code in worst_first(report, languages) if languages[code]["verdict"] != "ship"],
    }


def has_intervals(report: Mapping[str, Any]) -> bool:
    """Whether the report's intervals come from resamples."""
    resamples: int = report.get("run", {}).get("recipe", {}).get("evaluate", {}).get("bootstrap", 1)
    return resamples > 0


def worst_first(report: Mapping[str, Any], languages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Languages by verdict, then by retention."""
    retention = report["retention"]["languages"]
    return sorted(
        languages, key=lambda code: (OUTCOMES.index(languages[code]["verdict"]), retention.get(code) or 0.0, code)
    )


def format_rule(rule: Mapping[str, Any]) -> str:
    """The rule in words."""
    bounds = []
    if rule["retention"] is not None:
        bounds.append(f"at least {_percent(rule['retention'])} % of the teacher's F1")
    if rule["min_f1"] is not None:
        bounds.append(f"an F1 of at least {_percent(rule['min_f1'])}")
    return (
        f"The rule (evaluate.ship): the student has {' and '.join(bounds)}. A language is SHIP if the lower end of "
        "its 95 % interval satisfies the rule, DO NOT SHIP if not even the upper end does, else UNDECIDED; with fewer "
        f"than {rule['min_entities']} entities it is UNDECIDED. The whole is SHIP if the mean over languages satisfies "
        "the rule in the same way and no language is DO NOT SHIP."
    )


def format_whole(verdict: Mapping[str, Any]) -> str:
    """The verdict on the whole, with its reason."""
    whole = verdict["whole"]
    return f"{whole['verdict'].upper()}: {whole['reason']}."


def format_languages(verdict: Mapping[str, Any]) -> str:
    """For which languages the student may be shipped, in one or two sentences."""
    by_outcome: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES}
    to_act_on = verdict["act_on"]
    for code in (*to_act_on, *(code for code in verdict["languages"] if code not in to_act_on)):
        by_outcome[verdict["languages"][code]["verdict"]].append(code)
    return " ".join(
        f"{outcome.upper()}: {count_languages(len(codes))} ({', '.join(codes)})."
        for outcome, codes in by_outcome.items()
        if codes
    )


def _judge_languages(report: Mapping[str, Any], rule: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    retention, student = report["retention"], report["models"]["student"]
    languages = {}
    for code, scores in student["languages"].items():
        ends = retention.get("intervals", {}).get(code, {})
        if not scores["support"]:
            languages[code] = _undecided("no entity to judge by")
        elif scores["support"] < rule["min_entities"]:
            few = f"{scores['support']} entities, and the rule asks for {rule['min_entities']}"
            languages[code] = _undecided(f"{few}: label more test sentences")
        else:
            value = retention["languages"].get(code)
            languages[code] = _judge(
                ("retention", value, ends.get("low"), ends.get("high"), rule["retention"]),
                ("F1", scores["f1"], scores["f1_low"], scores["f1_high"], rule["min_f1"]),
            )
    return languages


def _judge_whole(
    report: Mapping[str, Any], rule: Mapping[str, Any], languages: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    retention, student = report["retention"], report["models"]["student"]
    if not has_intervals(report) or student["macro_f1"] is None:
        return _undecided("there is no interval to judge by")
    entities = sum(scores["support"] for scores in student["languages"].values())
    if entities < rule["min_entities"]:
        return _undecided(f"{entities} entities in all, and the rule asks for {rule['min_entities']}")
    of_mean = _judge(
        (
            "mean retention",
            retention["macro"],
            retention.get("macro_low"),
            retention.get("macro_high"),
            rule["retention"],
        ),
        ("macro-F1", student["macro_f1"], student.get("macro_low"), student.get("macro_high"), rule["min_f1"]),
    )
    unfit = [code for code, judged in languages.items() if judged["verdict"] == "do not ship"]
    if unfit:
        unfit.sort(key=lambda code: retention["languages"].get(code) or 0.0)
        reason = f"the student falls short in {', '.join(unfit)}; {of_mean['reason']}"
        return {"verdict": "do not ship", "reason": reason}
    return of_mean


def _judge(*bounds: _Bounds) -> dict[str, str]:
    outcomes: list[tuple[Outcome, str]] = []
    for name, value, low, high, least in bounds:
        if least is None:
            continue
        if value is None or low is None or high is None:
            outcomes.append(("undecided", f"no interval of {name}"))
            continue
        outcome: Outcome = "ship" if low >= least else "do not ship" if high < least else "undecided"
        place = {"ship": "at least", "do not ship": "all below", "undecided": "on both sides of"}[outcome]
        interval = f"{_percent(low)}–{_percent(high)}"
        outcomes.append((outcome, f"{name} {_percent(value)} % ({interval}), {place} {_percent(least)} %"))
    worst = min((outcome for outcome, _ in outcomes), key=OUTCOMES.index)
    return {"verdict": worst, "reason": "; ".join(text for outcome, text in outcomes if outcome == worst)}


def _undecided(reason: str) -> dict[str, str]:
    return {"verdict": "undecided", "reason": reason}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
