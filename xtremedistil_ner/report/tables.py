"""The tables of a report, as text cells; terminal, Markdown and HTML render them. Units: F1 and retention in per cent.

Reports of earlier versions lack some keys; their tables are shorter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtremedistil_ner.corpus.labelled import format_mapping
from xtremedistil_ner.corpus.split import format_spans
from xtremedistil_ner.languages import WIKIANN_LANGUAGES, count_languages, language_name
from xtremedistil_ner.report.caveats import about_weak_student
from xtremedistil_ner.report.paper import WIKIANN
from xtremedistil_ner.report.verdict import has_intervals, verdict_of, worst_first

SYNTHETIC = "Synthetic data: these numbers say that the pipeline works, and nothing about real text."
COMPARED = ("teacher", "student")
_MADE_BY = {"teacher": "finetune", "soft_labels": "pseudolabel", "student": "train"}
LANGUAGES_AND_TYPES, DATA = "Languages and types", "Data"
_SHOWN_CONFUSIONS = 12
_SHOWN_TO_ACT_ON = 10
_RATIOS = {"precision": "precision", "recall": "recall", "f1": "F1"}
"""Keys of scores, and the heads of their columns."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its heading and what has to be said about it; the first column names the rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def protocol_note(report: Mapping[str, Any]) -> str:
    """What the scores of a report are."""
    run = report["run"]
    intervals = (
        "with 95 % bootstrap intervals"
        if has_intervals(report)
        else "without resampling, so that intervals have no width"
    )
    return (
        f"Strict entity F1 in per cent on the {run['split']} split, whole sentences, {intervals}. "
        f"Strategy {run['strategy']}."
    )


def report_tables(report: Mapping[str, Any]) -> list[Table]:
    """All tables of a report, in order; those that would be empty are left out."""
    tables = [
        _act_on(report),
        _headline(report),
        _languages(report),
        _error_kinds(report),
        _confusions(report),
        _types(report),
        _cells(report),
        _slices(report),
        _operating_points(report),
        _baselines(report),
        _papers(report),
        _paper_protocol(report),
        _data(report["data"]),
        _stages(report["run"]),
    ]
    return [table for table in tables if table.rows]


def _act_on(report: Mapping[str, Any]) -> Table:
    """The languages that are not fit, the worst first."""
    verdict = verdict_of(report)
    codes = verdict["act_on"]
    rows = [
        (
            named(code),
            verdict["languages"][code]["verdict"].upper(),
            verdict["languages"][code]["reason"],
            _most_lost(*(report["models"][name]["languages"].get(code, {}).get("types", {}) for name in COMPARED)),
        )
        for code in codes[:_SHOWN_TO_ACT_ON]
    ]
    more = len(codes) - len(rows)
    note = f"The worst first; {count_languages(more)} more below." if more > 0 else "The worst first."
    return Table("Languages to act on", ("language", "verdict", "why", "F1 lost most"), tuple(rows), note)


def _most_lost(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> str:
    """The type with the largest fall of F1 from teacher to student, if there is one."""
    falls = {
        kind: (teacher[kind]["f1"] or 0.0) - (scores["f1"] or 0.0)
        for kind, scores in student.items()
        if scores["support"] and kind in teacher
    }
    worst = max(falls, key=lambda kind: falls[kind], default="")
    if not worst or falls[worst] <= 0:
        return "–"
    return f"{worst}: {percent(teacher[worst]['f1'])} to {percent(student[worst]['f1'])}"


def _headline(report: Mapping[str, Any]) -> Table:
    teacher, student = (report["models"][name] for name in COMPARED)
    retention = report["retention"]
    rows = [
        (
            "macro-F1 (sd over languages)",
            *(f"{percent(entry['macro_f1'])} ({percent(entry['std_f1'])})" for entry in (teacher, student)),
            _bounded(retention["macro"], retention.get("macro_low"), retention.get("macro_high"), unit=" %"),
        ),
        (
            "parameters",
            *(f"{entry['parameters']:,}" for entry in (teacher, student)),
            size_change(report["compression"]),
        ),
    ]
    if raw_text := student.get("raw_text"):
        rows.append(("macro-F1 in running text", "", percent(raw_text["macro_f1"]), ""))
    if any("calibration" in entry for entry in (teacher, student)):
        errors = (entry.get("calibration", {}).get("error") for entry in (teacher, student))
        rows.append(("calibration error of entity scores", *map(percent, errors), ""))
    for split in ("dev", "train"):
        if teacher.get(split) and student.get(split):
            cells = (percent(entry[split]["macro_f1"]) for entry in (teacher, student))
            rows.insert(1, (f"macro-F1 on {split}", *cells, ""))
    notes = (about_weak_student(report["models"]), about_means(report["models"]))
    return Table("In short", ("", *COMPARED, "student / teacher"), tuple(rows), " ".join(filter(None, notes)))


def models_table(report: Mapping[str, Any], names: Collection[str]) -> Table:
    """F1 of some models by language, the student's with its interval, and retention; then means and sizes.

    A report of one language's student lacks some models and sizes: their cells are dashes, their rows are left out.
    """
    models = {name: entry for name, entry in report["models"].items() if name in names}
    retention = report.get("retention") or {}
    rows = [
        (
            named(code),
            *(
                _with_interval(entry["languages"].get(code)) if name == "student" else _f1(entry["languages"].get(code))
                for name, entry in models.items()
            ),
            percent(retention.get("languages", {}).get(code)),
        )
        for code in dict.fromkeys(code for entry in models.values() for code in entry["languages"])
    ]
    rows.append(("macro", *(percent(entry["macro_f1"]) for entry in models.values()), percent(retention.get("macro"))))
    if all("parameters" in entry for entry in models.values()):
        rows.append(("parameters", *(f"{entry['parameters']:,}" for entry in models.values()), ""))
    compression = report.get("compression")
    size = f"The student has {size_change(compression)} parameters." if compression is not None else ""
    note = " ".join(filter(None, (size, about_means(models))))
    return Table("", ("language", *models, "retention"), tuple(rows), note)


def model_tables(entry: Mapping[str, Any]) -> list[Table]:
    """Scores of one entry of `models`: the strict ones and, if it has them, those by the papers' protocol."""
    rows = [
        (
            code,
            *_ratios(scores),
            between(scores["f1_low"], scores["f1_high"]) if is_scored(scores) else "–",
            str(scores["support"]),
            str(scores["words_lost"]),
        )
        for code, scores in entry["languages"].items()
    ]
    rows.append(("macro", "", "", percent(entry["macro_f1"]), "", "", ""))
    head = ("language", *_RATIOS.values(), "95 % interval", "entities", "words lost")
    notes = (_about_missing_entities([entry]), SYNTHETIC if entry.get("synthetic") else "")
    tables = [Table("", head, tuple(rows), " ".join(filter(None, notes)))]
    if paper := entry.get("paper_protocol"):
        rows = [(code, *_ratios(scores), str(scores["support"])) for code, scores in paper["languages"].items()]
        rows.append(("macro", "", "", percent(paper["macro_f1"]), ""))
        tables.append(Table("", ("papers' protocol", *_RATIOS.values(), "entities"), tuple(rows)))
    return tables


def about_means(models: Mapping[str, Any]) -> str:
    """Which languages the means leave out, and which count for one mean and not for the other."""
    notes = (_about_missing_entities(models.values()), _about_unequal_languages(models))
    return " ".join(note for note in notes if note)


def _about_missing_entities(entries: Iterable[Mapping[str, Any]]) -> str:
    """Which languages have no entity to find."""
    languages = [item for entry in entries for item in entry["languages"].items()]
    codes = dict.fromkeys(code for code, scores in languages if not is_scored(scores))
    return f"Without an entity to find, and so left out of every mean: {', '.join(codes)}." if codes else ""


def is_scored(scores: Mapping[str, Any]) -> bool:
    """Whether a language has a gold entity, without which F1 says nothing."""
    return scores.get("support") != 0


def _about_unequal_languages(models: Mapping[str, Any]) -> str:
    """Students per language need not cover all."""
    if not {"teacher", "student"} <= models.keys():
        return ""
    alone = [code for code in models["teacher"]["languages"] if code not in models["student"]["languages"]]
    if not alone:
        return ""
    return (
        f"The student has no model for {', '.join(alone)}. Each mean covers the languages of its model; retention "
        "covers those of both."
    )


def languages_worst_first(report: Mapping[str, Any]) -> list[str]:
    """The languages of the student, the worst first, then those that only the teacher knows."""
    judged = verdict_of(report)["languages"]
    teacher = report["models"]["teacher"]["languages"]
    return [*worst_first(report, judged), *(code for code in teacher if code not in judged)]


def _languages(report: Mapping[str, Any]) -> Table:
    """Every language, the worst first; baselines have a column each."""
    baselines = [name for name in report["models"] if name not in COMPARED]
    models = {name: report["models"][name]["languages"] for name in (*COMPARED, *baselines)}
    teacher, student = (models[name] for name in COMPARED)
    retention, judged = report["retention"], verdict_of(report)["languages"]
    rows = []
    for code in languages_worst_first(report):
        scores = {name: languages.get(code) for name, languages in models.items()}
        bounds = retention.get("intervals", {}).get(code, {})
        rows.append(
            (
                named(code),
                judged[code]["verdict"].upper() if code in judged else "–",
                next(f"{of_model['support']:,}" for of_model in scores.values() if of_model),
                *map(_with_interval, scores.values()),
                _bounded(retention["languages"].get(code), bounds.get("low"), bounds.get("high")),
                *(
                    str(of_model["words_lost"]) if of_model else "–"
                    for of_model in (teacher.get(code), student.get(code))
                ),
            )
        )
    head = ("language", "verdict", "entities", *models, "retention %", "no piece (teacher)", "no piece (student)")
    note = "The worst first. The last columns count words for which a model's vocabulary has no piece."
    return Table("Languages", head, tuple(rows), note)


def _types(report: Mapping[str, Any]) -> Table:
    """Mean F1 of each type over the languages that have it."""
    models = [report["models"][name]["languages"].values() for name in COMPARED]
    kinds = sorted({kind for languages in models for scores in languages for kind in scores["types"]})
    rows = []
    for kind in kinds:
        f1 = [
            [s["types"][kind]["f1"] or 0.0 for s in languages if s["types"].get(kind, {}).get("support")]
            for languages in models
        ]
        rows.append((kind, *(percent(sum(values) / len(values)) if values else "–" for values in f1)))
    return Table("Types", ("type", *COMPARED), tuple(rows), "Mean F1 over the languages that have the type.")


def _confusions(report: Mapping[str, Any]) -> Table:
    """The student's most common confusions and how often the teacher has them; all languages added up."""
    models = [report["models"][name] for name in COMPARED]
    counted = [{(c["gold"], c["predicted"], c["kind"]): c["count"] for c in m.get("confusions", ())} for m in models]
    teacher, student = counted
    unlisted = sum(models[0].get("errors", {}).values()) - sum(teacher.values())  # rarer than those in the report
    rows = [
        (
            f"{gold or 'nothing'} → {predicted or 'nothing'}",
            kind,
            f"{teacher[key]:,}" if key in teacher else f"≤ {min(teacher.values()):,}" if unlisted and teacher else "0",
            f"{count:,}",
        )
        for key, count in list(student.items())[:_SHOWN_CONFUSIONS]
        for gold, predicted, kind in (key,)
    ]
    note = "The student's most frequent ones: what the corpus says → what the model says."
    return Table("Confusions", ("gold → predicted", "kind", *COMPARED), tuple(rows), note)


def _error_kinds(report: Mapping[str, Any]) -> Table:
    """How many entities are wrong in which way."""
    teacher, student = (report["models"][name].get("errors", {}) for name in COMPARED)
    rows = [(kind, f"{teacher.get(kind, 0):,}", f"{count:,}") for kind, count in student.items() if teacher]
    return Table("Kinds of error", ("kind", *COMPARED), tuple(rows), "Entities that are not right, of all languages.")


def _cells(report: Mapping[str, Any]) -> Table:
    """Precision and recall of every language and type."""
    teacher, student = (report["models"][name]["languages"] for name in COMPARED)
    rows = []
    for code in languages_worst_first(report):
        for kind, scores in student.get(code, {}).get("types", {}).items():
            if scores["support"] and "precision" in scores:
                whole = teacher.get(code, {}).get("types", {}).get(kind)
                cells = (percent(scores[name]) for name in _RATIOS)
                rows.append(
                    (f"{code} {kind}", f"{scores['support']:,}", *cells, percent(whole["f1"]) if whole else "–")
                )
    head = ("language and type", "entities", *(f"student's {name}" for name in _RATIOS.values()), "teacher's F1")
    return Table(LANGUAGES_AND_TYPES, head, tuple(rows))


def _slices(report: Mapping[str, Any]) -> Table:
    """F1 of both models on entities that have something in common."""
    rows = [
        (
            entry["slice"],
            f"{entry['student']['gold']:,}",
            *(percent(entry[name]["f1"]) if entry[name]["gold"] else "–" for name in COMPARED),
        )
        for entry in report.get("slices", ())
    ]
    note = (
        "Entities of all languages together. Seen in training: the same words are an entity of the training text. The "
        "slices of entities, of capitals and of sentence lengths each add up to all entities."
    )
    return Table("Slices", ("entities", "number", *COMPARED), tuple(rows), note)


def _operating_points(report: Mapping[str, Any]) -> Table:
    """Thresholds of the student's scores, from dev where it was scored."""
    student = report["models"]["student"]
    split = "dev" if student.get("dev") else report["run"]["split"]
    points = (student.get("dev") or student).get("operating_points", {})
    rows = [
        (kind, *_point(of_type["precision_95"], "recall"), *_point(of_type["recall_95"], "precision"))
        for kind, of_type in points.items()
    ]
    note = f"Measured on {split}: keep the student's entities with at least this score. A dash: no score reaches it."
    head = ("type", "score for 95 % precision", "recall there", "score for 95 % recall", "precision there")
    return Table("Thresholds", head, tuple(rows), note)


def _point(point: Mapping[str, float] | None, other: str) -> tuple[str, str]:
    return (f"{point['threshold']:.3f}", percent(point[other])) if point else ("–", "–")


def _baselines(report: Mapping[str, Any]) -> Table:
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


def _papers(report: Mapping[str, Any]) -> Table:
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


def _paper_protocol(report: Mapping[str, Any]) -> Table:
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


def _data(data: Mapping[str, Any]) -> Table:
    keys = ("read", "duplicates", "held_out", "kept", "words", "lost_words")
    of_files = [data[key] for key in ("repaired_tags", "skipped_lines") if key in data]
    rows = []
    for code in {**data["transfer"], **data["repaired_tags"]}:
        counts = data["transfer"].get(code)
        cells = (f"{counts[key]:,}" if counts else "–" for key in keys)
        rows.append((named(code), *cells, *(f"{of_file[code]:,}" if code in of_file else "–" for of_file in of_files)))
    head = ("transfer set", "read", "duplicates", "in dev or test", "kept", "words", "words lost")
    repairs = ("tags repaired", "lines skipped")[: len(of_files)]
    return Table(DATA, (*head, *repairs), tuple(rows), " ".join(_about_languages(data)))


def _about_languages(data: Mapping[str, Any]) -> list[str]:
    notes = []
    if "corpus" in data:
        notes.append(f"Corpus: {', '.join(f'{key} {value}' for key, value in data['corpus'].items())}.")
    annotations = sum(map(Counter, data.get("annotations", {}).values()), Counter[str]())
    if annotations:
        notes.append(f"Annotations by character offsets: {format_spans(annotations)}.")
    if data.get("types"):
        becomes = {old: mapped["becomes"] for old, mapped in data["types"].items()}
        notes.append(format_mapping(becomes, {old: mapped["entities"] for old, mapped in data["types"].items()}))
    lacking, unscored = data.get("languages_lacking", ()), data.get("languages_not_scored", ())
    papers = [code for code in lacking if code in WIKIANN_LANGUAGES]
    others = [code for code in lacking if code not in WIKIANN_LANGUAGES]
    if papers and data.get("corpus", {}).get("hub") in WIKIANN:
        notes.append(f"Of the papers' 41 languages the corpus lacks {len(papers)}: {', '.join(papers)}.")
    if others:
        notes.append(f"Of the recipe's other languages it lacks {', '.join(others)}.")
    if unscored:
        notes.append(f"Used, and without sentences to score: {count_languages(len(unscored))}, {', '.join(unscored)}.")
    return notes


def _stages(run: Mapping[str, Any]) -> Table:
    stages, precision = run.get("stages", {}), run.get("precision", {})
    sizes = {_MADE_BY.get(name, name): count for name, count in run["bytes"].items()} if "bytes" in run else {}
    rows = [
        (
            name,
            f"{stages[name]['seconds']:.0f}" if name in stages else "",
            str(stages[name]["processes"]) if name in stages else "",
            precision.get(name, ""),
            f"{sizes[name] / 1e6:,.1f}" if name in sizes else "",
        )
        for name in dict.fromkeys((*stages, *precision))
    ]
    return Table("Time and size", ("stage", "seconds", "processes", "precision", "MB"), tuple(rows))


def size_change(compression: float) -> str:
    """How many parameters the student has beside the teacher; students per language may have more together."""
    return f"{1 / compression:.1f}x more" if 0 < compression < 1 else f"{compression:.1f}x fewer"


def named(code: str) -> str:
    """A language as tables show it: its name and its code."""
    return f"{language_name(code)} ({code})" if language_name(code) != code else code


def percent(share: float | None) -> str:
    """A share in per cent, two decimals; a dash for none."""
    return "–" if share is None else f"{100 * share:.2f}"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares in per cent; a dash for none."""
    return "–" if low is None or high is None else f"{percent(low)}–{percent(high)}"


def _ratios(scores: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(percent(scores[name]) if is_scored(scores) else "–" for name in _RATIOS)


def _f1(scores: Mapping[str, Any] | None) -> str:
    return percent(scores["f1"]) if scores and is_scored(scores) else "–"


def _with_interval(scores: Mapping[str, Any] | None) -> str:
    if scores is None or not is_scored(scores):
        return "–"
    return _bounded(scores["f1"], scores["f1_low"], scores["f1_high"])


def _bounded(value: float | None, low: float | None, high: float | None, *, unit: str = "") -> str:
    text = percent(value) + unit
    return text if low is None or high is None else f"{text} ({between(low, high)})"


def align_right(table: Table) -> Sequence[bool]:
    """Which columns hold numbers: all but the first and those with a word in some row."""
    columns = list(zip(*table.rows, strict=True))
    return [index > 0 and not any(cell[:1].isalpha() for cell in column) for index, column in enumerate(columns)]
