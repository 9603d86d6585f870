"""Scores that are kept: counts per sentence, and what is taken from an earlier report instead of being scored again."""

from __future__ import annotations

import json
import shutil

import pytest

from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.report.stored import find_counts, load_counts, read_report
from xtremedistil_ner.run_folder.artefacts import sealed
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.whole_files import sha256_file


@pytest.fixture(scope="module")
def report(finished_run):
    return json.loads((finished_run / "run" / "report.json").read_text(encoding="utf-8"))


def test_counts_per_sentence_add_up_to_the_scores(report, finished_run):
    for name, entry in report["models"].items():
        counts = find_counts([RunFolder(finished_run / "run")], name, entry["identity"])
        assert set(counts) == {"dev", "test"}
        for split, scores in (("test", entry), ("dev", entry["dev"])):
            for language, found in counts[split].items():
                correct, predicted, gold = found.sum(axis=0)
                assert len(found) == 8
                assert gold == scores["languages"][language]["support"]
                assert 2 * correct / (predicted + gold) == pytest.approx(scores["languages"][language]["f1"])


def test_slices_of_each_group_add_up_to_the_counts(report, finished_run):
    for name in ("teacher", "student"):
        counts = find_counts([RunFolder(finished_run / "run")], name, report["models"][name]["identity"])["test"]
        whole = sum(of_language.sum(axis=0) for of_language in counts.values()).tolist()
        for group in ("surface", "case", "length"):
            rows = [entry[name] for entry in report["slices"] if entry["group"] == group]
            assert [sum(row[key] for row in rows) for key in ("correct", "predicted", "gold")] == whole


def test_noise_stands_beside_the_same_sentences_as_written(report, finished_run, tmp_path):
    """The tiny split has fewer sentences than are chosen at most. Without capitals nothing else changes."""
    rows = {entry["slice"]: entry for entry in report["slices"] if entry["group"] == "noise"}
    assert list(rows) == ["as written", "lower case", "typing errors"]
    for name in ("teacher", "student"):
        of_lengths = [entry[name] for entry in report["slices"] if entry["group"] == "length"]
        for key in ("correct", "predicted", "gold"):
            assert rows["as written"][name][key] == sum(row[key] for row in of_lengths)
        assert len({rows[text][name]["gold"] for text in rows}) == 1
    assert rows["lower case"]["teacher"] != rows["as written"]["teacher"]
    page = (finished_run / "run" / "report.md").read_text(encoding="utf-8")
    assert "## Noise" in page
    run = changed_run(finished_run, tmp_path)
    found, _ = evaluate_again(finished_run, run, "evaluate.noise_sentences=0")
    assert [entry for entry in found["slices"] if entry["group"] == "noise"] == []
    assert "## Noise" not in run.report_markdown.read_text(encoding="utf-8")


def test_examples_quote_the_corpus_unless_the_recipe_forbids_it(report, finished_run, tmp_path):
    assert 0 < len(report["examples"]) <= 3
    assert all(0 < len(cell["examples"]) <= 6 for cell in report["examples"])
    run = changed_run(finished_run, tmp_path)
    found, said = evaluate_again(finished_run, run, "evaluate.examples=0")
    assert found["examples"] == []
    assert said == ["teacher: scored before", "student: scored before"]
    assert found["slices"] == report["slices"], "from stored tags"


def test_counts_of_another_model_and_broken_ones_are_not_taken(report, finished_run, tmp_path):
    path = RunFolder(finished_run / "run").scores("teacher")
    identity = report["models"]["teacher"]["identity"]
    assert load_counts(path, identity) is not None
    assert load_counts(path, report["models"]["student"]["identity"]) is None
    (tmp_path / "half.npz").write_bytes(path.read_bytes()[:-100])
    assert load_counts(tmp_path / "half.npz", identity) is None
    assert load_counts(tmp_path / "none.npz", identity) is None
    data = path.read_bytes()
    for place in range(0, len(data), 37):  # of the directory, of names, of compressed counts
        (tmp_path / "byte.npz").write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        load_counts(tmp_path / "byte.npz", identity)  # raises nothing


def test_a_report_with_a_million_languages_is_refused_by_their_number(finished_run, tmp_path):
    run = changed_run(finished_run, tmp_path)
    report = json.loads(run.report.read_text(encoding="utf-8"))
    report["models"]["student"]["languages"] = dict.fromkeys(map(str, range(20_000)), 0)
    run.report.write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(ArtefactError, match="20000 keys are more than 10000"):
        read_report(run.path)


def changed_run(finished_run, tmp_path, *, name="run"):
    shutil.copytree(finished_run / "run", tmp_path / name)
    return RunFolder(tmp_path / name)


def evaluate_again(finished_run, run, *overrides, **options):
    """Evaluate a run; its report, and what was said on the way."""
    from xtremedistil_ner.stages.evaluate import evaluate_run

    said = []
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
    evaluate_run(recipe, run, "other", said.append, **options)
    messages = [event.message for event in said if not event.is_count]
    return json.loads(run.report.read_text(encoding="utf-8")), messages


def replace_student(run):
    """Give a run another student: weights and manifest change."""
    from safetensors.numpy import load_file, save_file

    path = run.student / "model.safetensors"
    save_file({name: weight * 3 for name, weight in load_file(path).items()}, path, metadata={"format": "pt"})
    manifest = json.loads((run.student / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["model.safetensors"] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    (run.student / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_teacher_is_not_scored_again_when_only_the_student_changed(report, finished_run, tmp_path):
    run = changed_run(finished_run, tmp_path)
    replace_student(run)
    found, said = evaluate_again(finished_run, run)
    assert said == ["teacher: scored before", "student on dev", "student on test"]
    assert found["models"]["teacher"] == report["models"]["teacher"]
    assert found["models"]["student"]["identity"] != report["models"]["student"]["identity"]
    assert found["data"] == report["data"], "what was repaired and scored is counted all the same"


def test_scores_are_taken_from_another_run_and_are_those_of_scoring(report, finished_run, tmp_path):
    other, run = changed_run(finished_run, tmp_path, name="other"), changed_run(finished_run, tmp_path)
    run.report.unlink()
    shutil.rmtree(run.path / "scores")
    scored, said = evaluate_again(finished_run, run)
    assert [message for message in said if "before" in message] == []
    assert scored["models"] == report["models"]
    assert scored["retention"] == report["retention"]
    run.report.unlink()
    shutil.rmtree(run.path / "scores")
    taken, said = evaluate_again(finished_run, run, take_from=other)
    assert said == ["teacher: scored before", "student: scored before"]
    assert taken == scored
    assert run.scores("teacher").read_bytes() == other.scores("teacher").read_bytes()


@pytest.mark.parametrize(
    "change",
    ["evaluate.bootstrap=7", "evaluate.splits=[test]", "evaluate.protocol=paper", "seed=14", "corpus.languages=[en]"],
)
def test_another_way_of_scoring_scores_again(finished_run, tmp_path, change):
    run = changed_run(finished_run, tmp_path)
    _, said = evaluate_again(finished_run, run, change)
    assert "student on test" in said
    assert "teacher on test" in said


def test_scores_without_their_counts_are_not_taken(finished_run, tmp_path):
    run = changed_run(finished_run, tmp_path)
    run.scores("teacher").unlink()
    _, said = evaluate_again(finished_run, run)
    assert said == ["teacher on dev", "teacher on test", "student: scored before"]


def test_baselines_are_entries_without_parameters_and_are_kept(finished_run, tmp_path):
    run = changed_run(finished_run, tmp_path)
    first, _ = evaluate_again(finished_run, run, "evaluate.baselines=true")
    for name in ("gazetteer", "contexts"):
        assert first["models"][name]["parameters"] == 0
        assert {"macro_f1", "std_f1", "languages", "dev", "identity"} <= set(first["models"][name])
    assert "looks up the names" in run.report_markdown.read_text(encoding="utf-8")
    first["models"]["gazetteer"]["macro_f1"] = 0.123
    run.report.write_text(json.dumps(sealed(first)), encoding="utf-8")
    again, _ = evaluate_again(finished_run, run, "evaluate.baselines=true")
    assert again["models"]["gazetteer"]["macro_f1"] == 0.123, "taken as it stood"
