"""report.json and its Markdown: the promised keys, ranges, no NaN, and the mark of synthetic numbers."""

from __future__ import annotations

import json
import math
import re
import shutil

import numpy as np
import pytest
from support.documents import table_under
from support.tiny_report import RUN, build, entry, rows_of

from xtremedistil_ner.commands.terminal import format_models
from xtremedistil_ner.evaluation.confusions import KINDS, Confusion
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.report.html import format_page
from xtremedistil_ner.report.markdown import format_report
from xtremedistil_ner.report.paper import papers_beside
from xtremedistil_ner.run_folder.files import RunFolder

SHARES = ("precision", "recall", "f1", "f1_low", "f1_high")


@pytest.fixture(scope="module")
def report(finished_run):
    return json.loads((finished_run / "run" / "report.json").read_text(encoding="utf-8"))


def numbers_of(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers_of(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_the_keys_at_the_top_are_those_of_the_page(report):
    assert set(report) == {name.strip("`") for name, _ in table_under("formats.md", "report.json")}
    assert report["schema"] == 1
    assert report["synthetic"] is False


def test_every_model_and_split_has_the_promised_form(report):
    assert set(report["models"]) == {"teacher", "student"}
    for model in report["models"].values():
        for scores in (model, model["dev"]):
            assert {"parameters", "macro_f1", "std_f1", "languages"} <= set(scores)
            assert list(scores["languages"]) == ["en", "no"]
            assert scores["macro_f1"] == pytest.approx(
                np.mean([language["f1"] for language in scores["languages"].values()])
            )
            for language in scores["languages"].values():
                assert set(language) == {*SHARES, "support", "types", "words_lost"}
                assert set(language["types"]) == {"LOC", "ORG", "PER"}
                assert all(0 <= language[name] <= 1 for name in SHARES)
                assert language["f1_low"] <= language["f1_high"]
                assert language["support"] == sum(kind["support"] for kind in language["types"].values()) > 0


def test_retention_compression_and_run_say_how_the_student_compares_and_was_made(report, finished_run):
    teacher, student = report["models"]["teacher"], report["models"]["student"]
    assert report["compression"] == teacher["parameters"] / student["parameters"]
    retention = report["retention"]
    assert set(retention) == {"macro", "languages", "macro_low", "macro_high", "intervals"}
    assert set(retention["languages"]) == set(retention["intervals"]) == {"en", "no"}
    assert retention["macro_low"] <= retention["macro_high"]
    assert all(set(bounds) == {"low", "high"} for bounds in retention["intervals"].values())
    run = report["run"]
    assert {"name", "fingerprint", "recipe", "versions", "seed", "stages", "bytes"} <= set(run)
    assert load_recipe(finished_run / "tiny.yaml").model_dump(mode="json") == run["recipe"]
    assert set(run["stages"]) >= {"finetune", "pseudolabel", "train"}
    assert all(count > 0 for count in run["bytes"].values())


def test_parameters_are_those_in_the_weights(report, finished_run):
    from safetensors.numpy import load_file

    for name in ("teacher", "student"):
        weights = load_file(finished_run / "run" / name / "model.safetensors")
        assert report["models"][name]["parameters"] == sum(weight.size for weight in weights.values())


def test_no_number_is_nan_or_infinite(report):
    assert all(math.isfinite(number) for number in numbers_of(report))


def test_the_keys_of_an_entry_are_those_of_the_page(report):
    listed = set(re.findall(r"`(\w+)`", " ".join(name for name, _ in table_under("formats.md", "Entries of `models`"))))
    always = listed - {"paper_protocol", "calibration", "raw_text", "dev", "test", "train"}
    always -= {"macro_low", "macro_high", "operating_points", "noise"}
    for name, model in report["models"].items():
        assert always <= set(model) <= listed
        assert ("calibration" in model) == (name in ("teacher", "student"))
        assert ("raw_text" in model) == (name == "student")
        assert ("noise" in model) == (name in ("teacher", "student"))
        assert set(model["errors"]) == set(KINDS)
        assert sum(c["count"] for c in model["confusions"]) == sum(model["errors"].values())


def test_data_counts_every_sentence_of_the_transfer_set(report):
    for counts in report["data"]["transfer"].values():
        assert counts["read"] == counts["kept"] + counts["duplicates"] + counts["held_out"] == 24
    assert report["data"]["repaired_tags"] == report["data"]["skipped_lines"] == {"en": 0, "no": 0}
    assert report["data"]["annotations"] == {}


def test_retention_is_the_ratio_of_f1_by_hand():
    # teacher: en 4/4 right of 4, no 2 of 4 predicted right, 4 gold: F1 1.0 and 0.5; student: en F1 0.5, no F1 0.25
    teacher = entry(1000, en=[[2, 2, 2], [2, 2, 2]], no=[[2, 4, 4], [0, 0, 0]])
    student = entry(100, en=[[1, 2, 2], [1, 2, 2]], no=[[1, 4, 4], [0, 0, 0]])
    report = build(teacher, student)
    assert report["retention"]["languages"] == {"en": 0.5, "no": 0.5}
    assert report["retention"]["macro"] == 0.375 / 0.75
    assert report["retention"]["intervals"]["en"] == {"low": 0.5, "high": 0.5}, "without resamples"
    assert report["compression"] == 10.0
    assert report["models"]["teacher"]["macro_f1"] == 0.75
    assert report["models"]["teacher"]["std_f1"] == 0.25
    assert report["models"]["teacher"]["languages"]["en"]["words_lost"] == 1


def test_a_teacher_that_finds_nothing_gives_no_nan():
    nothing = entry(1000, en=[[0, 0, 2], [0, 0, 0]])
    report = build(nothing, nothing)
    assert all(math.isfinite(number) for number in numbers_of(report))
    json.dumps(report, allow_nan=False)
    assert "nan" not in format_report(report).lower()


def test_a_language_that_only_the_teacher_knows_does_not_count_for_retention():
    teacher = entry(1000, en=[[2, 2, 2], [2, 2, 2]], tl=[[2, 2, 2], [2, 2, 2]])
    student = entry(100, en=[[1, 2, 2], [1, 2, 2]])
    report = build(teacher, student)
    assert report["retention"]["languages"] == {"en": 0.5}
    assert report["retention"]["macro"] == 0.5
    rows = {row[0]: row[1:] for row in rows_of(format_report(report))}
    assert rows["Tagalog (tl)"] == ["–", "4", "100.00 (100.00–100.00)", "–", "–", "1", "–"]


def test_means_over_different_languages_say_so():
    teacher = entry(1000, en=[[2, 2, 2], [2, 2, 2]], tl=[[2, 2, 2], [2, 2, 2]])
    student = entry(100, en=[[1, 2, 2], [1, 2, 2]])
    assert "The student has no model for tl. Each mean covers" in format_report(build(teacher, student))
    assert "has no model for" not in format_report(build(teacher, teacher))


def test_more_parameters_than_the_teacher_has_are_not_called_fewer():
    large, small = (entry(count, en=[[1, 2, 2], [1, 2, 2]]) for count in (400, 100))
    rows = {row[0]: row[1:] for row in rows_of(format_report(build(small, large)))}
    assert rows["parameters"] == ["100", "400", "4.0x more"]


def test_intervals_without_resamples_are_not_called_bootstrap_intervals():
    model = entry(1000, en=[[1, 2, 2], [1, 2, 2]])
    run = {**RUN, "recipe": {"evaluate": {"bootstrap": 0}}}
    assert "95 % bootstrap" in format_report(build(model, model))
    assert "95 % bootstrap" not in format_report(build(model, model, run=run))


def test_repaired_tags_and_skipped_lines_stand_beside_the_transfer_set():
    model = entry(1000, en=[[1, 2, 2], [1, 2, 2]])
    report = build(model, model)
    counts = dict.fromkeys(("read", "kept", "words"), 1200) | dict.fromkeys(("duplicates", "held_out", "lost_words"), 0)
    report["data"] = {
        "transfer": {"en": counts, "qq": counts},
        "repaired_tags": {"en": 3, "tl": 4},
        "skipped_lines": {"en": 5, "tl": 0},
        "annotations": {"en": {"widened": 2, "utf16": 1}, "tl": {"widened": 1}},
    }
    text = format_report(report)
    assert "Annotations by character offsets: 3 widened to whole words, 1 counted in UTF-16 units." in text
    rows = {row[0]: row[-4:] for row in rows_of(text)}
    assert rows["transfer set"] == ["words", "words lost", "tags repaired", "lines skipped"]
    assert rows["English (en)"] == ["1,200", "0", "3", "5"]
    assert rows["qq"] == ["1,200", "0", "–", "–"], "text without labels"
    assert rows["Tagalog (tl)"] == ["–", "–", "4", "0"], "labels without text"


def test_the_table_shows_teacher_and_student_beside_each_other():
    teacher = entry(12_000, en=[[2, 2, 2], [2, 2, 2]], no=[[2, 4, 4], [0, 0, 0]])
    student = entry(1200, en=[[1, 2, 2], [1, 2, 2]], no=[[1, 4, 4], [0, 0, 0]])
    text = format_report(build(teacher, student))
    rows = {row[0]: row[1:] for row in rows_of(text)}
    assert rows["macro-F1 (sd over languages)"] == ["75.00 (25.00)", "37.50 (12.50)", "50.00 % (50.00–50.00)"]
    assert rows["parameters"] == ["12,000", "1,200", "10.0x fewer"]
    assert rows["Norwegian (no)"][:2] == ["UNDECIDED", "4"]
    assert rows["Norwegian (no)"][4:] == ["50.00 (50.00–50.00)", "1", "1"]
    assert rows["PER"] == ["75.00", "37.50"]
    assert rows["LOC"] == ["100.00", "50.00"], "a language without the type does not count"
    assert rows["train"] == ["61", "2", "bf16", ""]


def test_the_most_common_confusions_of_the_student_stand_beside_the_teachers():
    missed, border = Confusion("PER", None, "missed"), Confusion("LOC", "LOC", "wrong border")
    teacher = entry(10, en=[[1, 2, 2], [1, 2, 2]], confusions={missed: 3})
    student = entry(10, en=[[1, 2, 2], [1, 2, 2]], confusions={missed: 4, border: 9})
    rows = rows_of(format_report(build(teacher, student)))
    assert ["missed", "3", "4"] in rows
    place = rows.index(["gold → predicted", "kind", "teacher", "student"])
    found = [row for row in rows[place:] if "→" in row[0]][1:]
    assert found[:2] == [["LOC → LOC", "wrong border", "0", "9"], ["PER → nothing", "missed", "3", "4"]]


def test_a_confusion_that_the_teachers_list_is_too_short_for_is_not_called_absent():
    rare, common = Confusion("PER", None, "missed"), Confusion("LOC", None, "missed")
    teacher = entry(10, en=[[1, 2, 2], [1, 2, 2]], confusions={common: 7, rare: 2})
    student = entry(10, en=[[1, 2, 2], [1, 2, 2]], confusions={rare: 9})
    assert ["PER → nothing", "missed", "2", "9"] in rows_of(format_report(build(teacher, student)))
    del teacher["confusions"][1]
    assert ["PER → nothing", "missed", "≤ 7", "9"] in rows_of(format_report(build(teacher, student)))


PAPERS = papers_beside({"hub": "unimelb-nlp/wikiann", "revision": "0"}, ["en", "no"])


def test_the_papers_values_stand_beside_a_wikiann_run_and_are_marked():
    model = entry(1000, en=[[2, 4, 4], [0, 0, 0]], no=[[4, 4, 4], [0, 0, 0]])
    text = format_report(build(model, model, papers=PAPERS))
    assert "papers' values (their protocol, not comparable with strict scores)" in text
    rows = rows_of(text)
    rows = rows[
        rows.index(["language", "papers' mBERT", "papers' XtremeDistil", "teacher, strict", "student, strict"]) :
    ]
    assert ["English (en)", "84.00", "78.00", "50.00", "50.00"] in rows
    assert ["mean of these", "88.50", "84.50", "75.00", "75.00"] in rows
    assert ["papers' mean of 41", "91.86", "88.64", "", ""] in rows
    assert "papers" not in format_report(build(model, model)).lower(), "another corpus"


def test_our_mean_beside_the_papers_is_over_the_papers_languages():
    model = entry(1000, en=[[2, 4, 4], [0, 0, 0]], no=[[4, 4, 4], [0, 0, 0]], xx=[[0, 4, 4], [0, 0, 0]])
    papers = papers_beside({"hub": "unimelb-nlp/wikiann", "revision": "0"}, ["en", "no", "xx"])
    rows = rows_of(format_report(build(model, model, papers=papers)))
    assert ["mean of these", "88.50", "84.50", "75.00", "75.00"] in rows, "xx, with an F1 of 0, is not theirs"
    alone = entry(1000, en=[[2, 4, 4], [0, 0, 0]])
    assert ["mean of these", "88.50", "84.50", "75.00", "–"] in rows_of(
        format_report(build(model, alone, papers=papers))
    )


@pytest.mark.parametrize("source", [{"path": "corpus"}, {"hub": "conll2003", "revision": "0"}])
def test_another_corpus_than_wikiann_has_no_values_of_the_papers(source):
    assert papers_beside(source, ["en"]) is None


@pytest.mark.parametrize("synthetic", [False, True])
def test_markdown_says_when_numbers_are_synthetic_and_only_then(synthetic):
    model = entry(1000, en=[[1, 2, 2], [1, 2, 2]])
    text = format_report(build(model, model, synthetic=synthetic))
    assert ("Synthetic" in text) is synthetic


def test_names_in_markdown_are_no_markup_and_a_table_stays_one():
    model = entry(1000, confusions={Confusion("<img/src=x>", "a|b", "wrong type"): 2}, en=[[1, 2, 2], [1, 2, 2]])
    model["languages"] |= {"<img onerror=x>\n|": model["languages"]["en"], "`[a](b)": model["languages"]["en"]}
    text = format_report(build(model, model, run=RUN | {"name": "<b>\n# x"}))
    assert "<img" not in text
    assert "[a](b)" not in text
    assert text.startswith("# &lt;b&gt; # x: teacher and student\n")
    assert "| &lt;img onerror=x&gt; \\| |" in text
    assert "| &lt;img/src=x&gt; → a\\|b |" in text


@pytest.mark.parametrize(("right", "is_weak"), [(5, True), (10, False)])
def test_markdown_page_and_terminal_warn_of_a_weak_student(right, is_weak):
    """Of 100 entities predicted and 100 in the corpus so many are right: F1 0.05 and 0.1."""
    model = entry(1000, en=[[right, 100, 100], [0, 0, 0]])
    report = build(model, model)
    for text in (format_report(report), format_page(report), format_models(report)):
        assert ("Weak student: its macro-F1 of 5.00 is below 10." in text) is is_weak


def test_a_run_on_the_demo_corpus_is_marked_synthetic(finished_run, tmp_path):
    from xtremedistil_ner.stages.evaluate import evaluate_run

    shutil.copytree(finished_run / "run", tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    recipe = load_recipe(
        finished_run / "tiny.yaml",
        overrides=["corpus.path=demo", "corpus.languages=[de]", "evaluate={splits: [dev], bootstrap: 2}"],
    )
    evaluate_run(recipe, run, "other", silent)
    assert json.loads(run.report.read_text(encoding="utf-8"))["synthetic"] is True
    assert "Synthetic" in run.report_markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize(("corpus", "is_said"), [({"path": "demo"}, False), ({"hub": "unimelb-nlp/wikiann"}, True)])
def test_the_papers_languages_are_missed_only_in_the_papers_corpus(corpus, is_said):
    model = entry(1000, en=[[1, 2, 2], [1, 2, 2]])
    report = build(model, model)
    report["data"] |= {"corpus": corpus, "languages_lacking": ["af", "ar"], "repaired_tags": {"en": 1}}
    assert ("Of the papers' 41 languages the corpus lacks 2" in format_report(report)) is is_said
