"""Runs side by side: what is shown, and when a difference is tested."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.compared_runs import RIGHT, compared, write_run, write_seeds

from xtremedistil_ner.errors import ArtefactError, UsageError
from xtremedistil_ner.report.compare import open_runs
from xtremedistil_ner.report.compare_tables import comparison_tables
from xtremedistil_ner.report.seeds import ComparedRun, group_runs
from xtremedistil_ner.report.stored import save_counts
from xtremedistil_ner.run_folder.artefacts import publish
from xtremedistil_ner.run_folder.files import RunFolder


def test_runs_are_columns_with_one_teacher_where_it_is_the_same(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80)]
    numbers, languages, _ = comparison_tables(compared(*runs))
    assert numbers.head == ("", "teacher", "one", "two")
    rows = {row[0]: row[1:] for row in numbers.rows}
    assert rows["strategy"] == ("–", "D1", "D1")
    assert rows["macro-F1 on dev"] == ("89.00", "59.00", "79.00")
    assert rows["macro-F1 on test"] == ("90.00", "60.00", "80.00")
    assert rows["languages"] == ("2", "2", "2")
    assert rows["retention %"] == ("–", "66.67", "88.89")
    assert rows["retention %, 95 % interval"] == ("–", "64.67–68.67", "86.89–90.89")
    assert rows["parameters"] == ("1,000", "100", "100")
    assert rows["compression"] == ("–", "10.0x", "10.0x")
    assert rows["training s"] == ("–", "61", "61")
    assert languages.rows[0] == ("English (en)", "90.00", "60.00", "80.00")


def test_different_teachers_have_a_column_each(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80)]
    report = json.loads((runs[1] / "report.json").read_text(encoding="utf-8"))
    report["models"]["teacher"]["identity"] = "another"
    (runs[1] / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert comparison_tables(compared(*runs))[0].head == ("", "teacher of one", "teacher of two", "one", "two")


def test_a_difference_is_tested_on_the_same_sentences(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80)]
    difference = compared(*runs)["differences"]["two"]
    assert difference["macro_f1"] == pytest.approx(0.2)
    assert 0 < difference["low"] < 0.2 < difference["high"]
    assert difference["p"] < 0.01
    assert difference["languages"] == 2
    table = comparison_tables(compared(*runs))[2]
    assert table.rows[0][:2] == ("two", "+20.00")


def test_a_run_does_not_differ_from_its_copy(tmp_path):
    one = write_run(tmp_path / "one", right=60)
    shutil.copytree(one, tmp_path / "two")
    difference = compared(one, tmp_path / "two")["differences"]["two"]
    assert (difference["macro_f1"], difference["p"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"counts": False}, "two has no counts per sentence"),
        ({"hashes": "other"}, "two was scored on other sentences than one"),
        ({"languages": ("de",)}, "two was scored on other sentences than one"),
    ],
)
def test_a_difference_that_cannot_be_tested_is_left_out_and_says_why(tmp_path, options, why):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80, **options)]
    assert compared(*runs)["differences"] == {"two": {"left_out": why}}
    assert comparison_tables(compared(*runs))[2].rows == (("two", "–", "–", "–", f"left out: {why}"),)


def test_counts_of_a_student_that_is_no_longer_there_are_not_used(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80)]
    save_counts(RunFolder(runs[1]).scores("student"), "older", {"test": {"en": np.array([RIGHT])}})
    assert "left_out" in compared(*runs)["differences"]["two"]


def test_only_common_languages_count_for_a_difference(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80, languages=("en", "de"))]
    found = compared(*runs)
    assert found["differences"]["two"]["languages"] == 1
    assert comparison_tables(found)[2].rows[0][3] == "1"
    assert comparison_tables(found)[1].rows[-1] == ("German (de)", "–", "–", "80.00")


def test_report_files_by_themselves_are_shown_without_a_test(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80)]
    found = compared(*(run / "report.json" for run in runs))
    assert list(found["runs"]) == ["one", "two"]
    assert "left_out" in found["differences"]["two"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    runs = [write_run(tmp_path / place / "run", right=60) for place in ("a", "b")]
    assert list(compared(*runs)["runs"]) == ["a/run", "b/run"]


def test_synthetic_runs_are_named(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80, synthetic=True)]
    assert comparison_tables(compared(*runs))[0].note == "Synthetic, and nothing about real text: two."
    assert [run["synthetic"] for run in compared(*runs)["runs"].values()] == [False, True]


def test_finished_runs_compare(finished_run, tmp_path):
    shutil.copytree(finished_run / "run", tmp_path / "copy")
    found = compared(finished_run / "run", tmp_path / "copy" / "report.json")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_run_given_twice_is_wrong_use(tmp_path):
    run = write_run(tmp_path / "one", right=60)
    for again in (run, run / "report.json", run / ".." / "one"):
        with pytest.raises(UsageError, match="this run is given twice"):
            open_runs([run, again])


def test_a_run_called_teacher_does_not_hide_the_teacher(tmp_path):
    runs = [write_run(tmp_path / "teacher", right=60), write_run(tmp_path / "two", right=80)]
    assert comparison_tables(compared(*runs))[0].head == ("", "teacher of teacher", "teacher", "two")


def test_runs_that_report_other_splits_are_named(tmp_path):
    runs = [write_run(tmp_path / "one", right=60), write_run(tmp_path / "two", right=80)]
    assert comparison_tables(compared(*runs))[1].note == ""
    report = json.loads((runs[1] / "report.json").read_text(encoding="utf-8"))
    report["run"]["split"] = "dev"
    (runs[1] / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert comparison_tables(compared(*runs))[1].note == "Not the same split: one test, two dev."


def test_one_run_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="two runs or more"):
        open_runs([tmp_path])


INCOMPLETE = '{"schema": 1, "models": {"teacher": {}}, "retention": {"macro": 1, "languages": {}}, "run": {"name": ""}}'


@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": 2}', '{"schema": 1}', INCOMPLETE, "7"])
def test_what_is_no_report_is_named_and_never_to_be_removed(tmp_path, text):
    if text is not None:
        (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"report\.json: ") as error:
        open_runs([tmp_path, Path("elsewhere")])
    assert "Remove" not in str(error.value)


def test_runs_that_differ_in_their_seed_are_one_column_with_mean_and_deviation(tmp_path):
    runs = [*write_seeds(tmp_path, "D1", (60, 80), seeds=(13, 14)), write_run(tmp_path / "two", right=50)]
    numbers, languages, differences = comparison_tables(compared(*runs))
    assert numbers.head == ("", "teacher", "D1", "two")
    rows = {row[0]: row[1:] for row in numbers.rows}
    assert rows["seeds"] == ("–", "13, 14", "–")
    assert rows["macro-F1 on test"] == ("90.00", "70.00 (14.14)", "50.00")
    assert rows["retention %"] == ("–", "77.78 (15.71)", "55.56")
    assert rows["retention %, 95 % interval"] == ("–", "–", "53.56–57.56")
    assert rows["parameters"] == ("1,000", "100", "100")
    assert rows["training s"] == ("–", "61 (0)", "61")
    assert "standard deviation" in numbers.note
    assert languages.rows[0] == ("English (en)", "90.00", "70.00 (14.14)", "50.00")
    assert differences.rows[0][:2] == ("two", "-20.00")
    assert "sentences and seeds" in differences.note


def test_the_json_has_every_run_as_before_and_groups_besides(tmp_path):
    right = {"D1": (60, 80, 70), "D2": (64, 84, 74)}
    runs = [run for name in right for run in write_seeds(tmp_path / "a", name, right[name], strategy=name)]
    alone = [
        write_run(tmp_path / "b" / f"{name}-{13 + number}", right=of_seed)
        for name in right
        for number, of_seed in enumerate(right[name])
    ]
    found, before = compared(*runs), compared(*alone)
    groups = found.pop("groups")
    for label, group in before.pop("groups").items():
        assert (group["runs"], group["difference"]) == ([label], before["differences"].get(label))
    assert all(found[key] == before[key] for key in ("schema", "runs", "differences"))
    assert [group["runs"] for group in groups.values()] == [["D1-13", "D1-14", "D1-15"], ["D2-13", "D2-14", "D2-15"]]
    assert groups["D1"]["difference"] is None
    assert groups["D2"]["seeds"] == [13, 14, 15]
    assert groups["D2"]["difference"]["macro_f1"] == pytest.approx(0.04)
    assert groups["D1"]["student"]["macro_f1"]["test"] == pytest.approx({"mean": 0.7, "std": 0.1})
    assert groups["D1"]["student"]["languages"]["no"] == pytest.approx({"mean": 0.7, "std": 0.1})


def test_a_difference_that_one_seed_shows_may_be_chance_over_several(tmp_path):
    runs = [*write_seeds(tmp_path, "D1", (40, 60, 95)), *write_seeds(tmp_path, "D2", (62, 75, 80), strategy="D2")]
    one_seed = compared(runs[0], runs[3])["groups"]["D2-13"]["difference"]
    assert one_seed["low"] > 0 and one_seed["p"] < 0.01
    several = compared(*runs)["groups"]["D2"]["difference"]
    assert several["macro_f1"] == pytest.approx((22 + 15 - 15) / 300)
    assert several["low"] < 0 < several["high"] and several["p"] > 0.1


def test_equal_seeds_are_compared_with_each_other_in_whatever_order_they_are_given(tmp_path):
    first = write_seeds(tmp_path, "D1", (40, 60, 80))
    same = write_seeds(tmp_path, "D2", (50, 70, 90), strategy="D2")
    other = write_seeds(tmp_path, "D3", (50, 70, 90), strategy="D3", seeds=(16, 17, 18))
    found = compared(*first, *reversed(same), *other)["groups"]
    paired, apart = found["D2"]["difference"], found["D3"]["difference"]
    assert paired["macro_f1"] == pytest.approx(apart["macro_f1"]) == pytest.approx(0.1)
    assert 0 < paired["low"] and apart["low"] < 0, "each seed gains 10 points; other seeds may be the better ones"


def test_a_run_with_the_seed_of_another_is_no_further_seed(tmp_path):
    old, new = (write_seeds(tmp_path / place, "run", (60, 80), seeds=(13, 14)) for place in ("old", "new"))
    assert list(compared(*old, *new)["groups"]) == ["old/run", "new/run"]


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (("D3.1-13", "D3.1-14"), "D3.1"),
        (("D3.1-9", "D3.1-14"), "D3.1"),
        (("s13", "s131"), "s"),
        (("base", "base-14"), "base"),
        (("x/13", "x/14"), "x"),
        (("13", "14"), "13 and 1 more"),
        (("first", "second"), "first and 1 more"),
    ],
)
def test_a_group_has_what_the_names_of_its_runs_begin_with(labels, name):
    runs = [ComparedRun(label, {"run": {"recipe": {"seed": seed}}}, None) for seed, label in enumerate(labels)]
    (group,) = group_runs(runs)
    assert group.label == name


def test_groups_of_one_start_of_name_are_told_apart(tmp_path):
    mixed = write_seeds(tmp_path, "m", (60, 80), seeds=(13, 15)) + write_seeds(
        tmp_path, "m", (60, 80), seeds=(14, 16), strategy="D2"
    )
    assert list(compared(*mixed)["groups"]) == ["m-13 and 1 more", "m-14 and 1 more"]


@pytest.mark.parametrize("recipe", [7, {"train": 7}, {"seed": [13]}, {"train": {"seed": "13"}}, {"x": [9876543]}])
def test_a_recipe_that_is_none_is_named(tmp_path, recipe):
    runs = [write_run(tmp_path / "one", right=60, recipe=recipe), write_run(tmp_path / "two", right=60)]
    text = (runs[0] / "report.json").read_text(encoding="utf-8")
    (runs[0] / "report.json").write_text(text.replace("9876543", "1e999"), encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"one/report\.json: run\.recipe"):
        open_runs(runs)


def test_settings_in_which_students_differ_are_listed_with_the_values_of_each(tmp_path):
    recipe = {"name": "one", "seed": 13, "train": {"strategy": "D1", "updates": 9}, "corpus": {"languages": ["en"]}}
    other = {**recipe, "name": "two", "train": {"strategy": "D2", "updates": 9}, "corpus": {"languages": ["en", "no"]}}
    runs = [
        write_run(tmp_path / "one", right=60, recipe=recipe),
        write_run(tmp_path / "one-14", right=60, recipe={**recipe, "seed": 14}),
        write_run(tmp_path / "two", right=60, recipe=other),
        write_run(tmp_path / "old", right=60),
    ]
    assert compared(*runs)["settings"] == {
        "seed": {"one": [13, 14], "two": [13]},
        "train.strategy": {"one": ["D1"], "two": ["D2"]},
        "corpus.languages": {"one": [["en"]], "two": [["en", "no"]]},
    }


def write_record(run, median, *, processor="Xeon"):
    """A record of `xner bench` about the run's export."""
    folder = RunFolder(run)
    with publish(folder.export, {"fingerprint": run.name}):
        pass
    folder.bench.mkdir(exist_ok=True)
    rates = {"student int8": {"q1": median - 1, "median": median, "q3": median + 1}}
    record = {"schema": 2, "stage": "tag", "exports": {"student": run.name}, "raw_text": {"sentences_per_s": rates}}
    record["machine"] = {"processor": processor, "threads": 1}
    (folder.bench / "tag.json").write_text(json.dumps(record), encoding="utf-8")


def test_speed_has_a_row_for_each_machine_and_none_where_it_was_not_measured(tmp_path):
    runs = [write_run(tmp_path / name, right=60) for name in ("one", "two", "three")]
    assert not [row for row in comparison_tables(compared(*runs))[0].rows if row[0].startswith("sentences/s")]
    write_record(runs[0], 1200.0)
    write_record(runs[1], 90.0, processor="Epyc")
    rows = [row for row in comparison_tables(compared(*runs))[0].rows if row[0].startswith("sentences/s")]
    assert rows == [
        ("sentences/s, int8 (Epyc, threads: 1)", "–", "–", "90", "–"),
        ("sentences/s, int8 (Xeon, threads: 1)", "–", "1200", "–", "–"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bench/tag.json", '{"schema": 2, "exports": {"s": "one"}}'),
        ("export/manifest.json", '{"files": 7, "fingerprint": 7}'),
    ],
)
def test_a_broken_record_of_speed_is_none(tmp_path, name, text):
    runs = [write_run(tmp_path / name, right=60) for name in ("one", "two")]
    write_record(runs[0], 1200.0)
    (runs[0] / name).write_text(text, encoding="utf-8")
    assert compared(*runs)["runs"]["one"]["student"]["sentences_per_s"] == []
