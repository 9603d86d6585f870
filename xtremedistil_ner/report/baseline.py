"""Is a run worse than the last one that was shipped? Recall per language and type, size, and speed where it is known.

A fall of recall counts if it is larger than `MOST_LOST` and than chance: a one-sided test of two shares, at 5 % over
all cells together (Bonferroni). The runs are not paired, because reports have no counts per sentence and type; where
they were scored on the same sentences, the test therefore finds fewer falls than there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xtremedistil_ner.report.cells import Table, named, percent
from xtremedistil_ner.report.speed import student_rates

MOST_LOST = 0.02
MOST_GROWTH = 1.1
"""The fall of recall, and the factor of size or time, up to which a change counts as none; chosen, not measured."""
_LEVEL = 0.05
_SHOWN_FALLS = 10


def compare_with_baseline(
    report: Mapping[str, Any],
    baseline: Mapping[str, Any],
    *,
    speed: Sequence[Mapping[str, Any]] = (),
    baseline_speed: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Both students side by side; `worse` names what became worse, and is empty if nothing did.

    `speed` and `baseline_speed` are the runs' records of `xner bench`.
    """
    cells = list(_recall_cells(report, baseline))
    parameters = {
        "before": baseline["models"]["student"]["parameters"],
        "after": report["models"]["student"]["parameters"],
    }
    rates = _common_rates(baseline_speed, speed)
    worse = [f"no scores of {', '.join(lost)}" for lost in _lost(report, baseline) if lost]
    worse += [
        f"{cell['language']}: recall of {cell['type']} fell from {percent(cell['before'])} to {percent(cell['after'])}"
        for cell in cells
        if cell["before"] - cell["after"] > MOST_LOST and cell["p"] * len(cells) < _LEVEL
    ]
    if parameters["after"] > MOST_GROWTH * parameters["before"]:
        worse.append(f"parameters grew from {parameters['before']:,} to {parameters['after']:,}")
    worse += [
        f"{rate['graph']} fell from {rate['before']:,.0f} to {rate['after']:,.0f} sentences/s"
        for rate in rates
        if rate["is_slower"]
    ]
    return {
        "name": baseline["run"]["name"],
        "recall": cells,
        "parameters": parameters,
        "sentences_per_s": rates,
        "worse": worse,
    }


def _languages(report: Mapping[str, Any]) -> Mapping[str, Any]:
    languages: Mapping[str, Any] = report["models"]["student"]["languages"]
    return languages


def _lost(report: Mapping[str, Any], baseline: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Languages that the baseline was scored on and the run was not; the same of types of the run's languages."""
    after = _languages(report)
    types = [
        f"{kind} in {code}"
        for code, scores in _languages(baseline).items()
        for kind, before in scores["types"].items()
        if before["support"] and code in after and not after[code]["types"].get(kind, {}).get("support")
    ]
    return [code for code in _languages(baseline) if code not in after], types


def _recall_cells(report: Mapping[str, Any], baseline: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Recall of each language and type that both runs have entities of, and the chance of such a fall."""
    after = _languages(report)
    for code, scores in _languages(baseline).items():
        for kind, before in scores["types"].items():
            now = after.get(code, {}).get("types", {}).get(kind)
            if now and before["support"] and now["support"]:
                yield {
                    "language": code,
                    "type": kind,
                    "before": before["recall"],
                    "after": now["recall"],
                    "p": _chance_of_fall(before["recall"], before["support"], now["recall"], now["support"]),
                }


def _chance_of_fall(before: float, n_before: int, after: float, n_after: int) -> float:
    """One-sided p of two shares, by the normal approximation with the pooled share."""
    pooled = (before * n_before + after * n_after) / (n_before + n_after)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_before + 1 / n_after))
    if error == 0.0:
        return 1.0
    return 0.5 * math.erfc((before - after) / error / math.sqrt(2))


def _common_rates(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sentences/s in raw text of the graphs that both runs measured on one kind of processor with as many threads."""
    earlier, now = student_rates(before), student_rates(after)
    return [
        {
            "graph": key[-1],
            "before": earlier[key]["median"],
            "after": rate["median"],
            "is_slower": earlier[key]["q1"] > MOST_GROWTH * rate["q3"],
        }
        for key, rate in now.items()
        if key in earlier
    ]


def baseline_table(compared: Mapping[str, Any]) -> Table:
    """What became worse, then size and speed, then the largest falls of recall."""
    size = compared["parameters"]
    rows = [("parameters", f"{size['before']:,}", f"{size['after']:,}")]
    rows += [
        (f"sentences/s, {rate['graph']}", f"{rate['before']:,.0f}", f"{rate['after']:,.0f}")
        for rate in compared["sentences_per_s"]
    ]
    falls = sorted(compared["recall"], key=lambda cell: float(cell["after"] - cell["before"]))
    rows += [
        (f"recall of {cell['type']}, {named(cell['language'])}", percent(cell["before"]), percent(cell["after"]))
        for cell in falls[:_SHOWN_FALLS]
    ]
    worse = "; ".join(compared["worse"])
    note = f"Worse than the baseline: {worse}." if worse else "Nothing is worse than in the baseline."
    how = (
        f"Recall falls if it loses more than {100 * MOST_LOST:.0f} points and more than chance explains; the table has "
        "the languages and types that lost most."
    )
    return Table("Since the baseline", ("", compared["name"], "this run"), tuple(rows), f"{note} {how}")
