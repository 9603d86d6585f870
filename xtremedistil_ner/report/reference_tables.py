"""The report's tables of what its models stand beside: baselines and the papers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xtremedistil_ner.report.cells import COMPARED, Table, is_scored, named, percent


def baselines_table(report: Mapping[str, Any]) -> Table:
    """Macro-F1 of what tags without a network."""
    meaning = {
        "gazetteer": "looks up the names of the training sentences",
        "contexts": "knows the words around names, and no name",
    }
    entries = {name: report["models"][name] for name in meaning if name in report["models"]}
    rows = [
        (name, percent(entry["macro_f1"]), str(sum(map(is_scored, entry["languages"].values()))), meaning[name])
        for name, entry in entries.items()
    ]
    note = "Baselines learn from the training sentences of a language, and are scored where there are any."
    return Table("Baselines", ("baseline", "macro-F1", "languages", "what it does"), tuple(rows), note)


def papers_table(report: Mapping[str, Any]) -> Table:
    """The papers' F1 per language beside ours, if the corpus is theirs."""
    papers = report.get("papers") or {"languages": {}, "note": ""}
    ours = _ours_by_protocol(report)
    rows = []
    for code, theirs in papers["languages"].items():
        f1 = (percent(entry["languages"].get(code, {}).get("f1")) for entry in ours.values())
        rows.append((named(code), percent(theirs["mbert_joint"]), percent(theirs["xtremedistil"]), *f1))
    if rows:
        means = [percent(_mean_f1(entry, papers["languages"])) for entry in ours.values()]
        for name, mean, cells in (
            ("mean of these", papers["mean_of_these"], means),
            ("papers' mean of 41", papers["mean"], [""] * len(means)),
        ):
            rows.append((name, percent(mean["mbert_joint"]), percent(mean["xtremedistil"]), *cells))
    head = ("language", "papers' mBERT", "papers' XtremeDistil", *ours)
    return Table("The papers", head, tuple(rows), f"The papers' columns are {papers['note']}.")


def _mean_f1(entry: Mapping[str, Any], codes: Iterable[str]) -> float | None:
    """Mean F1 of an entry over some languages, None unless it has all of them."""
    f1 = [entry["languages"].get(code, {}).get("f1") for code in codes]
    return None if None in f1 or not f1 else sum(f1) / len(f1)


def _ours_by_protocol(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    models = {name: report["models"][name] for name in COMPARED}
    strict = {f"{name}, strict": entry for name, entry in models.items()}
    papers = {f"{name}, papers' protocol": e["paper_protocol"] for name, e in models.items() if "paper_protocol" in e}
    return {**strict, **papers}


def paper_protocol_table(report: Mapping[str, Any]) -> Table:
    """Our F1 by the papers' protocol, if `papers_table` does not have it."""
    entries = {name: report["models"][name].get("paper_protocol") for name in COMPARED}
    if report.get("papers") or not all(entries.values()):
        return Table("", (), ())
    rows = [
        (named(code), *(percent(entry["languages"].get(code, {}).get("f1")) for entry in entries.values()))
        for code in entries["teacher"]["languages"]
    ]
    rows.append(("mean", *(percent(entry["macro_f1"]) for entry in entries.values())))
    note = "The papers' way of scoring: sentences cut at 32 pieces, conlleval's spans. Not comparable with the rest."
    return Table("The papers' protocol", ("language", *COMPARED), tuple(rows), note)
