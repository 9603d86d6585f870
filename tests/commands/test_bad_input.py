"""Bad input through the real command line: one message that names the place, the right exit code, no traceback."""

from __future__ import annotations

import gzip
import json
import shutil
import sys

import pytest
from safetensors.numpy import load_file, save_file
from support.command_line import run_xner
from support.tiny_run import write_corpus, write_recipe
from transformers.utils import logging as transformers_logging

from xtremedistil_ner import __main__ as command_line
from xtremedistil_ner.report.caveats import SYNTHETIC
from xtremedistil_ner.run_folder.artefacts import sealed
from xtremedistil_ner.run_folder.lock import run_lock
from xtremedistil_ner.run_folder.soft_labels import open_store


@pytest.fixture
def xner(monkeypatch, capfd):
    """Run the command line; give its exit code, standard output, and the message on standard error.

    Progress has a time stamp; what is left on standard error must be one message.
    """

    def run(*arguments):
        code, output, errors = run_xner(monkeypatch, capfd, *arguments)
        message = "".join(line for line in errors.splitlines(keepends=True) if not line.startswith("20"))
        assert "Traceback" not in errors
        assert message.count("xner: ") == (code != 0), message
        return code, output, message

    return run


@pytest.fixture
def xner_any(monkeypatch, capfd):
    """Run the command line on what typer may refuse by itself; give its exit code and standard error."""

    def run(*arguments):
        code, _, errors = run_xner(monkeypatch, capfd, *arguments)
        return code, errors

    return run


@pytest.fixture
def place(tmp_path):
    """A folder with a sound corpus and recipe, for a test to break."""
    write_corpus(tmp_path / "corpus")
    write_recipe(tmp_path / "tiny.yaml", tmp_path / "corpus")
    return tmp_path


def distil(xner, place, *options):
    return xner("distil", place / "tiny.yaml", "--out", place / "run", "--processes", 1, *options)


def without_next(message):
    """Standard error without the lines that say what comes next."""
    lines = message.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("Look at: ", "Next: ")))


def expect(result, code, *parts):
    found, out, message = result
    assert (found, out) == (code, ""), message
    for part in parts:
        assert str(part) in message


def break_line(place, *, data, split="train"):
    """Put bytes after the first two lines of an English file."""
    path = place / "corpus" / "en" / f"{split}.tsv"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], data, *lines[2:]]))
    return path


def test_a_broken_line_is_named(xner, place):
    path = break_line(place, data=b"alone")
    expect(distil(xner, place), 3, f"{path}:3:", "has no tag")


def test_invalid_utf8_is_named(xner, place):
    path = break_line(place, data=b"M\xfcnchen\tB-LOC")
    expect(distil(xner, place), 3, f"{path}:3:2: byte 0xfc is not UTF-8")


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_an_unknown_tag_is_named_with_the_known_types(xner, place, split):
    path = break_line(place, data=b"Stonehenge\tB-MISC", split=split)
    result = distil(xner, place, "--set", "corpus.types=[LOC, ORG, PER]")
    expect(result, 3, f"{path}:3: tag 'B-MISC'", "LOC, ORG, PER", "corpus.types")
    assert not (place / "run" / "teacher").exists(), "found before training, whichever split it is in"


def test_an_empty_file_is_named(xner, place):
    path = place / "corpus" / "no" / "dev.tsv"
    path.write_bytes(b"")
    expect(distil(xner, place), 3, path, "no sentence")


def test_a_damaged_archive_is_named(xner, place):
    path = place / "corpus" / "en" / "train.tsv"
    whole = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_suffix(".tsv.gz").write_bytes(whole[: len(whole) // 2])
    expect(distil(xner, place), 3, path.with_suffix(".tsv.gz"), "damaged or cut short")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        (
            "train.jsonl",
            b'{"words": ["a"], "tags": ["O"]}\n{"words": ["a"]}\n',
            ":2: there is neither tags nor ner_tags",
        ),
        ("train.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-4], ": damaged or cut short"),
        ("train.parquet", b"PAR1", ": damaged or no parquet file"),
    ],
)
def test_a_broken_file_of_records_is_named(xner, place, name, data, problem):
    path = place / "corpus" / "en" / name
    (place / "corpus" / "en" / "train.tsv").unlink()
    path.write_bytes(data)
    expect(distil(xner, place), 3, f"{path}{problem}")
    expect(xner("corpus", "check", place / "corpus"), 3, f"{path}{problem}")


def test_a_dataset_of_the_hub_that_is_out_of_reach_is_a_resource_error(xner, place):
    result = distil(xner, place, "--set", "corpus.path=null", "--set", "corpus.hub={id: org/no-such-dataset}")
    expect(result, 5, "org/no-such-dataset at main: not in the Hub's cache", "hf download org/no-such-dataset")
    result = distil(xner, place, "--set", "transfer.hub={id: org/no-such-dataset}")
    expect(result, 5, "org/no-such-dataset at main: not in the Hub's cache")


@pytest.mark.parametrize(
    ("url", "code", "problem"),
    [("nonsense://corpus", 3, "unknown protocol"), ("http://127.0.0.1:9/corpus", 5, "cannot be fetched")],
)
@pytest.mark.parametrize("section", ["corpus", "transfer"])
def test_a_url_that_cannot_be_fetched_is_named(xner, place, section, url, code, problem):
    expect(distil(xner, place, "--set", f"{section}.path={url}"), code, f"{url}: {problem}")


def test_transfer_text_without_a_language_is_refused(xner, place):
    (place / "news.txt").write_text("Nobody came .\n", encoding="utf-8")
    result = distil(xner, place, "--set", f"transfer.path={place / 'news.txt'}")
    expect(result, 3, f"{place / 'news.txt'}: which language is this?", "transfer.languages")


@pytest.mark.parametrize("language", ["{place}/victim", "../../victim", "x" * 300, "a\\u0000b"])
def test_a_language_of_transfer_text_never_becomes_a_path(xner, place, language):
    (place / "victim-00000").mkdir()
    (place / "victim-00000" / "precious").touch()
    text = f'{{"text": "Berlin is number 1", "language": "{language.format(place=place)}"}}\n'
    (place / "t.jsonl").write_text(text, encoding="utf-8")
    result = distil(xner, place, "--until", "pseudolabel", "--set", f"transfer.path={place / 't.jsonl'}")
    expect(result, 3, f"{place / 't.jsonl'}:1: the language is")
    assert [path.name for path in (place / "victim-00000").iterdir()] == ["precious"]
    assert not (place / "run").exists()


def test_langs_that_are_no_codes_are_wrong_use(xner, place, finished_run):
    expect(evaluate(xner, place, finished_run, "--langs", "../en"), 2, "--langs: '../en'. A language code has")
    expect(distil(xner, place, "--langs", "../en"), 2, "--langs: '../en'. A language code has")


@pytest.mark.parametrize("command", ["check", "stats"])
def test_an_empty_path_of_a_corpus_is_wrong_use(xner, command):
    expect(xner("corpus", command, ""), 2, "The path of the corpus is empty")


def test_all_broken_lines_of_a_file_come_in_one_message(xner, place):
    path = place / "corpus" / "en" / "dev.tsv"
    path.write_text("one\ntwo\nthree\tX-PER\n", encoding="utf-8")
    expect(distil(xner, place), 3, f"{path}:1:", f"{path}:2:", f"{path}:3:")


def test_a_missing_corpus_folder_is_named(xner, place):
    shutil.rmtree(place / "corpus")
    expect(distil(xner, place), 3, f"{place / 'corpus'}: no such folder")
    assert not (place / "run").exists()


def test_a_language_that_the_corpus_lacks_is_named_with_those_it_has(xner, place):
    expect(distil(xner, place, "--langs", "en,xx"), 3, "no language xx", "en, no")


def test_a_corpus_without_a_dev_split_is_refused_before_training(xner, place):
    for language in ("en", "no"):
        (place / "corpus" / language / "dev.tsv").unlink()
    expect(distil(xner, place), 3, place / "corpus", "no language has a dev split")


def test_a_transfer_set_that_is_all_held_out_is_refused(xner, place):
    for language in ("en", "no"):
        shutil.copy(place / "corpus" / language / "dev.tsv", place / "corpus" / language / "train.tsv")
    expect(distil(xner, place, "--processes", 2), 3, "transfer set is empty")


def test_two_unknown_keys_and_a_wrong_type_are_one_message_with_lines(xner, place):
    more = "export:\n  license: mit\npseudolabel: {batch_pieces: many}\nserve: {}\n"
    path = write_recipe(place / "tiny.yaml", place / "corpus", more=more)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    expect(
        distil(xner, place),
        2,
        f"{path}:{lines - 2}: export.license: unknown key. Did you mean licence?",
        f"{path}:{lines - 1}: pseudolabel.batch_pieces: Input should be a valid integer",
        f"{path}:{lines}: serve: unknown key.",
    )


def test_a_missing_recipe_and_a_folder_without_one_are_named(xner, place):
    expect(xner("distil", place / "none.yaml"), 2, f"{place / 'none.yaml'}: no such recipe")
    expect(xner("distil", place / "corpus"), 2, f"{place / 'corpus'}: not a recipe file")


def test_a_run_folder_in_use_is_refused(xner, place):
    with run_lock(place / "run"):
        expect(distil(xner, place), 5, f"{place / 'run'}: another process is writing")


def test_a_run_folder_that_cannot_be_made_is_refused(xner, place):
    result = xner("distil", place / "tiny.yaml", "--out", place / "tiny.yaml" / "run")
    expect(result, 5, f"{place / 'tiny.yaml' / 'run'}: cannot be written")


def test_a_stage_without_its_inputs_is_wrong_use(xner, place):
    result = xner("train", place / "tiny.yaml", "--out", place / "run")
    expect(result, 2, "train needs", place / "run" / "teacher")


@pytest.fixture
def checkpoint(finished_run, place):
    """A copy of a teacher's folder, which the recipe takes as it is."""
    shutil.copytree(finished_run / "run" / "teacher", place / "checkpoint")
    text = (place / "tiny.yaml").read_text(encoding="utf-8").replace("epochs: 1", "epochs: 0")
    shape = next(line for line in text.splitlines() if "shape:" in line)
    (place / "tiny.yaml").write_text(text.replace(shape, f"  checkpoint: {place / 'checkpoint'}"), encoding="utf-8")
    return place / "checkpoint"


def rename_labels(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {key: name.replace("LOC", "GPE") for key, name in config["id2label"].items()}
    config["label2id"] = {name: int(key) for key, name in config["id2label"].items()}
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_a_teacher_is_taken_as_it_is(xner, place, checkpoint):
    assert distil(xner, place, "--until", "finetune")[0] == 0
    weights = "model.safetensors"
    assert (place / "run" / "teacher" / weights).read_bytes() == (checkpoint / weights).read_bytes()


def test_a_teacher_with_other_labels_is_refused_with_both_sets(xner, place, checkpoint):
    rename_labels(checkpoint)
    expect(distil(xner, place), 4, checkpoint, "B-GPE", "B-LOC", "teacher.labels")


def test_labels_that_the_recipe_maps_are_taken(xner, place, checkpoint):
    rename_labels(checkpoint)
    result = distil(xner, place, "--until", "pseudolabel", "--set", "teacher.labels={B-GPE: B-LOC, I-GPE: I-LOC}")
    assert result[0] == 0


def truncate_weights(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def widen_config(checkpoint):
    path = checkpoint / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"hidden_size": 16', '"hidden_size": 32'), encoding="utf-8"
    )


def remove_tokenizer(checkpoint):
    (checkpoint / "tokenizer.json").unlink()


def break_config(checkpoint):
    (checkpoint / "config.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("damage", [truncate_weights, widen_config, remove_tokenizer, break_config, shutil.rmtree])
def test_a_checkpoint_that_is_not_whole_is_named(xner, place, checkpoint, damage, epochs):
    damage(checkpoint)
    expect(distil(xner, place, "--set", f"finetune.epochs={epochs}"), 4, checkpoint)


@pytest.mark.parametrize("folder", ["nothing", "corpus"])
def test_evaluating_what_is_no_model_is_refused(xner, place, folder):
    expect(xner("evaluate", place / folder, "--corpus", place / "corpus"), 4, place / folder)


def test_evaluating_a_run_folder_is_refused_with_what_to_give(xner, place, finished_run):
    """Its subfolders are no students of languages that are called teacher, student and export."""
    result = xner("evaluate", finished_run / "run", "--corpus", place / "corpus")
    expect(result, 4, finished_run / "run", "a run folder. Give a model in it")


def evaluate(xner, place, finished_run, *options, model="student"):
    return xner("evaluate", finished_run / "run" / model, "--corpus", place / "corpus", *options)


def test_a_split_that_no_language_has_is_refused_and_so_is_one_that_a_named_language_lacks(xner, place, finished_run):
    (place / "corpus" / "no" / "test.tsv").unlink()
    expect(evaluate(xner, place, finished_run, "--langs", "en,no"), 3, place / "corpus", "no test split of no")
    code, out, message = evaluate(xner, place, finished_run, "--json")
    assert (code, message) == (0, "")
    assert list(json.loads(out)["languages"]) == ["en"]
    (place / "corpus" / "en" / "test.tsv").unlink()
    expect(evaluate(xner, place, finished_run), 3, place / "corpus", "no test split of en, no")


def test_languages_left_out_of_all_are_told(monkeypatch, capfd, place, finished_run):
    (place / "corpus" / "no" / "test.tsv").unlink()
    options = (finished_run / "run" / "student", "--corpus", place / "corpus")
    code, _, errors = run_xner(monkeypatch, capfd, "evaluate", *options)
    assert code == 0
    assert "left out, having no test split or no model: no\n" in errors


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.fixture
def run_copy(finished_run, place):
    shutil.copytree(finished_run / "run", place / "run")
    return place / "run"


def test_a_student_that_changed_is_not_exported(xner, run_copy):
    flip(run_copy / "student" / "model.safetensors", -3)
    result = xner("export", run_copy, "--format", "hf")
    expect(result, 4, f"{run_copy / 'student'}: model.safetensors differs from the manifest")


def test_a_report_that_changed_is_neither_exported_nor_shown_nor_compared(xner, run_copy, finished_run):
    report = json.loads((run_copy / "report.json").read_text(encoding="utf-8"))
    report["models"]["student"]["macro_f1"] = 0.99
    (run_copy / "report.json").write_text(json.dumps(report), encoding="utf-8")
    problem = f"{run_copy / 'report.json'}: changed since it was written"
    expect(xner("export", run_copy, "--format", "hf"), 4, problem)
    expect(xner("distil", run_copy), 4, problem)
    expect(xner("report", run_copy), 4, problem)
    expect(xner("compare", run_copy, finished_run / "run"), 4, problem)


def poison(folder, value):
    """A weight that is no finite number, under a manifest that vouches for it."""
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[-1]
    weights[name] = weights[name].copy()
    weights[name].flat[0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "manifest.json").unlink()
    return name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("model", ["teacher", "student"])
def test_a_model_whose_weights_are_not_finite_is_not_scored(xner, place, run_copy, model, value):
    name = poison(run_copy / model, value)
    result = xner("evaluate", run_copy / model, "--corpus", place / "corpus")
    expect(result, 4, run_copy / model, name, "weights that are not finite")
    assert "does not fit" not in result[2]


def test_a_checkpoint_whose_weights_are_not_finite_is_not_taken(xner, place, checkpoint):
    name = poison(checkpoint, float("nan"))
    expect(distil(xner, place), 4, checkpoint, name, "not finite")


def test_a_tag_that_the_model_does_not_know_is_named(xner, place, finished_run):
    path = break_line(place, data=b"Volvo\tB-MISC", split="test")
    expect(evaluate(xner, place, finished_run), 3, f"{path}:3: tag 'B-MISC': the types are LOC, ORG, PER")


@pytest.mark.parametrize("labels", [None, {}, {"0": "LABEL_0"}])
def test_a_classifier_without_tags_is_refused(xner, place, checkpoint, labels):
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (checkpoint / "config.json").write_text(json.dumps({**config, "id2label": labels}), encoding="utf-8")
    (checkpoint / "manifest.json").unlink()
    expect(xner("evaluate", checkpoint, "--corpus", place / "corpus"), 4, "config.json: id2label has no tags")


def test_scores_on_the_built_in_corpus_are_marked_synthetic(xner, finished_run):
    arguments = ("evaluate", finished_run / "run" / "student", "--corpus", "demo", "--langs", "no", "--split", "dev")
    assert xner(*arguments)[1].splitlines()[-1] == SYNTHETIC
    assert json.loads(xner(*arguments, "--json")[1])["synthetic"] is True


def test_other_scores_are_not_marked_synthetic(xner, place, finished_run):
    assert SYNTHETIC not in evaluate(xner, place, finished_run)[1]
    assert json.loads(evaluate(xner, place, finished_run, "--json")[1])["synthetic"] is False


@pytest.mark.parametrize("model", ["teacher", "student", "export"])
def test_evaluate_gives_the_entry_that_the_report_has(xner, finished_run, model):
    report = json.loads((finished_run / "run" / "report.json").read_text(encoding="utf-8"))
    entry = json.loads(xner("evaluate", finished_run / "run" / model, "--corpus", finished_run / "corpus", "--json")[1])
    there = report["models"]["teacher" if model == "teacher" else "student"]
    assert {entry[key] == there[key] for key in ("parameters", "macro_f1", "std_f1", "errors", "confusions")} == {True}


@pytest.fixture
def copied_run(finished_run, tmp_path):
    """A copy of a finished run, for a test to damage."""
    shutil.copytree(finished_run / "run", tmp_path / "run")
    return tmp_path / "run"


def put_file(path):
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious", encoding="utf-8")


def put_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


@pytest.mark.parametrize("name", ["teacher", "soft_labels", "student", "export", "scores", "bench", "work"])
def test_a_file_where_a_folder_belongs_is_named_and_stays(xner, copied_run, name):
    put_file(copied_run / name)
    expect(xner("distil", copied_run), 5, f"{copied_run / name}: a file where a folder belongs")
    assert (copied_run / name).read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("name", ["finetune", "train"])
def test_a_file_where_the_state_of_a_stage_belongs_is_named(xner, copied_run, name):
    put_file(copied_run / "work" / name)
    expect(xner("distil", copied_run), 5, f"{copied_run / 'work' / name}: a file where a folder belongs")


@pytest.mark.parametrize(
    "name",
    [
        "report.json",
        "report.md",
        "report.html",
        "timings.json",
        "soft_labels/precision.json",
        "soft_labels/manifest.json",
        "work/train/precision.json",
        "work/finetune/processes.json",
        "scores/student.npz",
    ],
)
def test_a_folder_where_a_file_belongs_is_named(xner, copied_run, name):
    put_folder(copied_run / name)
    expect(xner("distil", copied_run), 5, f"{copied_run / name}: a folder where a file belongs")


@pytest.mark.parametrize("name", [".lock", ".workers.lock"])
def test_a_lock_that_cannot_be_taken_is_named(xner, copied_run, name):
    (copied_run / name).unlink()
    put_folder(copied_run / name)
    expect(xner("distil", copied_run), 5, f"{copied_run}: cannot be written (Is a directory)")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("report", "{run}"), "report.json"),
        (("report", "{run}"), "report.md"),
        (("compare", "{run}", "{run}/../other"), "report.json"),
        (("tag", "{run}/export", "{run}/recipe.yaml"), "export/manifest.json"),
    ],
)
def test_other_commands_name_a_folder_where_a_file_belongs(xner, copied_run, finished_run, command, name):
    shutil.copytree(finished_run / "run", copied_run.parent / "other")
    put_folder(copied_run / name)
    expect(xner(*(part.format(run=copied_run) for part in command)), 5, copied_run / name, "Is a directory")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("distil", "{place}/tiny.yaml", "--out", "{place}/tiny.yaml"), 2),
        (("distil", "{place}/run/student/config.json"), 2),
        (("report", "{place}/tiny.yaml"), 2),
        (("compare", "{place}/tiny.yaml", "{run}"), 4),
        (("evaluate", "{place}/tiny.yaml", "--corpus", "{place}/corpus"), 4),
        (("evaluate", "{run}/student", "--corpus", "{place}/tiny.yaml"), 3),
        (("evaluate", "{run}/student", "--corpus", "{place}/corpus/en/dev.tsv"), 3),
        (("tag", "{place}/tiny.yaml", "{place}/tiny.yaml"), 4),
        (("tag", "{run}/export", "{place}/corpus"), 3),
        (("tag", "{run}/export", "{place}/none"), 3),
        (("corpus", "check", "{place}/tiny.yaml"), 3),
        (("corpus", "stats", "{place}/none"), 3),
        (("bench", "{place}/tiny.yaml"), 4),
        (("bench", "{run}/export", "--out", "{place}/tiny.yaml"), 2),
        (("serve", "{place}/tiny.yaml"), 4),
    ],
)
def test_a_file_for_a_folder_and_the_reverse_is_one_message(xner_any, place, finished_run, arguments, code):
    found, message = xner_any(*(part.format(place=place, run=finished_run / "run") for part in arguments))
    assert (found, "Traceback" in message) == (code, False), message
    assert message


@pytest.mark.parametrize("command", ["distil", "report", "tag", "serve", "evaluate", "bench", "compare", "export"])
def test_a_name_that_is_not_utf8_is_refused(xner, command):
    expect(xner(command, "runs/M\udcfcnchen"), 2, r"'runs/M\xfcnchen': not UTF-8")


@pytest.fixture
def damaged_report(copied_run):
    """Change the report of a run at a path of keys, or remove the last one."""

    def damage(keys, *value):
        report = json.loads((copied_run / "report.json").read_text(encoding="utf-8"))
        entry = report
        for key in keys[:-1]:
            entry = entry[key]
        if value:
            entry[keys[-1]] = value[0]
        else:
            del entry[keys[-1]]
        (copied_run / "report.json").write_text(json.dumps(sealed(report)), encoding="utf-8")
        return copied_run

    return damage


@pytest.mark.parametrize(
    "keys",
    [
        ("synthetic",),
        ("compression",),
        ("retention", "macro"),
        ("run", "name"),
        ("run", "split"),
        ("data", "transfer"),
        ("models", "student", "macro_f1"),
        ("models", "teacher", "parameters"),
        ("models", "teacher", "languages", "en", "f1"),
        ("models", "student", "languages", "no", "types", "PER", "support"),
    ],
)
def test_a_report_without_a_key_is_named_with_the_key(xner, damaged_report, keys):
    run = damaged_report(keys)
    expect(xner("report", run), 4, f"{run / 'report.json'}: {'.'.join(keys)}: Field required")
    assert xner("distil", run)[0] == 4


@pytest.mark.parametrize("value", [None, [], {}, "0.5", True, 10**400])
@pytest.mark.parametrize("keys", [("models", "student", "parameters"), ("models", "student", "languages"), ("run",)])
def test_a_report_with_a_wrong_type_is_named_with_the_key(xner, damaged_report, keys, value):
    run = damaged_report(keys, value)
    code, _, message = xner("report", run)
    if code:
        assert code == 4
        assert f"{run / 'report.json'}: {'.'.join(keys)}" in message
    else:
        assert (keys[-1], value) in [("languages", {}), ("parameters", 10**400)]


def test_a_report_that_lost_its_seal_counts_as_changed(xner, copied_run):
    file = copied_run / "report.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    del report["seal"]
    report["models"]["student"]["macro_f1"] = 0.99
    file.write_text(json.dumps(report), encoding="utf-8")
    for command in ("export", "report"):
        expect(xner(command, copied_run), 4, f"{file}: changed since it was written")
    shutil.rmtree(copied_run / "export")
    expect(xner("export", copied_run), 4, f"{file}: changed since it was written")


BROKEN_JSON = [b"", b"{", b"[]", b"\xff{}", b'{"a": NaN}', b"1" * 5000, b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("data", BROKEN_JSON, ids=range(len(BROKEN_JSON)))
def test_a_broken_report_is_named_and_a_broken_manifest_too(xner, copied_run, data):
    (copied_run / "report.json").write_bytes(data)
    expect(xner("report", copied_run), 4, copied_run / "report.json")
    (copied_run / "export" / "manifest.json").write_bytes(data)
    code, _, message = xner("tag", copied_run / "export", copied_run / "recipe.yaml")
    assert code == 4
    assert str(copied_run / "export" / "manifest.json") in message
    assert len(message) < 2000


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"files": []}, "files must be an object, and is []"),
        ({"files": {"config.json": 1}}, "files.config.json must be an object"),
        ({"files": {"config.json": {"sha256": "", "bytes": "1"}}}, "files.config.json.bytes must be a whole number"),
        ({"files": None}, "files must be an object"),
        ({"scores": []}, "scores must be an object"),
        ({"scores": {"languages": 1}}, "scores.languages must be an object"),
        ({"parameters": "many"}, "parameters must be a whole number"),
    ],
)
def test_an_exports_manifest_in_another_form_is_named_with_the_key(xner, copied_run, change, key):
    path = copied_run / "export" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    expect(xner("tag", copied_run / "export", copied_run / "recipe.yaml"), 4, f"{path}: {key}")


@pytest.mark.parametrize("files", [[], {"weights": []}, {"model.safetensors": {"sha256": 1, "bytes": 1}}, "all", None])
def test_a_students_manifest_in_another_form_is_named_and_nothing_more_is_to_be_removed(xner, copied_run, place, files):
    path = copied_run / "student" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "files": files}), encoding="utf-8")
    result = xner("evaluate", copied_run / "student", "--corpus", place / "corpus")
    expect(result, 4, f"{path}: files", "Remove its folder and run the same command again.")
    expect(xner("distil", copied_run), 4, f"{path}: files")
    shutil.rmtree(copied_run / "student")
    assert xner("distil", copied_run, "--dry-run")[0] == 0


@pytest.mark.parametrize("change", [{"schema": 1}, {"kind": "model"}])
def test_an_export_that_this_version_does_not_read_is_made_anew(xner, copied_run, change):
    path = copied_run / "export" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    (copied_run.parent / "a.txt").write_text("Ada Byron lives in Paris .\n", encoding="utf-8")
    expect(xner("tag", copied_run, copied_run.parent / "a.txt"), 4, path)
    code, out, _ = xner("export", copied_run, "--json")
    assert (code, json.loads(out)["steps"][-1]["state"]) == (0, "done")
    assert xner("tag", copied_run, copied_run.parent / "a.txt")[0] == 0


@pytest.mark.parametrize("options", [(), ("--set", "train.learning_rate=0.01")])
def test_a_store_without_shards_is_named(xner, copied_run, options):
    path = copied_run / "soft_labels" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "shards": []}), encoding="utf-8")
    expect(xner("distil", copied_run, *options), 4, f"{path}: shards is empty", "Remove it and run again.")
    path.unlink()
    assert xner("pseudolabel", copied_run)[0] == 0


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"train": 3}', b'{"train": {"seconds": "long", "processes": 1}}'])
def test_lost_timings_cost_the_timings_only(xner, copied_run, data):
    (copied_run / "timings.json").write_bytes(data)
    code, out, _ = xner("distil", copied_run, "--set", "evaluate.bootstrap=7", "--until", "evaluate", "--json")
    assert code == 0
    assert json.loads(out)["report"]["run"]["stages"] == {}
    assert list(json.loads((copied_run / "timings.json").read_text(encoding="utf-8"))) == ["evaluate"]


def test_a_run_folder_stands_for_its_export(xner, copied_run):
    (copied_run.parent / "a.txt").write_text("Ada Byron lives in Paris .\n", encoding="utf-8")
    of_export = xner("tag", copied_run / "export", copied_run.parent / "a.txt")
    assert of_export[0] == 0
    assert xner("tag", copied_run, copied_run.parent / "a.txt") == of_export
    assert xner("tag", copied_run, copied_run.parent / "a.txt", "--workers", 2)[:2] == of_export[:2]
    recipe = (copied_run / "recipe.yaml").rename(copied_run / "away.yaml")
    assert xner("tag", copied_run, copied_run.parent / "a.txt") == of_export
    recipe.rename(copied_run / "recipe.yaml")
    shutil.rmtree(copied_run / "export")
    for command in ("tag", "serve", "bench"):
        message = f"{copied_run}: a run folder without an export"
        expect(xner(command, copied_run), 4, message, f"xner export {copied_run}")


def test_formats_without_int8_drop_what_the_run_forces_of_it(xner, copied_run):
    recipe = copied_run / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    assert "force_int8: false" in text
    recipe.write_text(text.replace("force_int8: false", "force_int8: true"), encoding="utf-8")
    assert xner("export", copied_run, "--format", "hf,onnx", "--dry-run")[0] == 0
    expect(xner("export", copied_run, "--format", "hf,onyx"), 2, "--format 'onyx': there are hf, onnx")
    expect(xner("export", copied_run, "--format", "hf", "--force"), 2, "--force is about the format onnx-int8")


def test_formats_without_the_page_drop_the_runs_runtime_for_it(xner, copied_run):
    recipe = copied_run / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    changed = text.replace("onnxruntime_web: null", "onnxruntime_web: ort").replace("- hf\n", "- web\n", 1)
    assert changed.count("ort") > text.count("ort")
    assert "- web" in changed
    recipe.write_text(changed, encoding="utf-8")
    assert xner("export", copied_run, "--format", "hf", "--dry-run")[0] == 0


@pytest.mark.parametrize("name", ["teacher", "student", "export", "work/finetune", "soft_labels", "bench"])
def test_files_that_no_run_wrote_are_never_removed(xner, place, name):
    foreign = place / "run" / name / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    code, _, message = distil(xner, place)
    assert (code, foreign.exists()) == (5, True)
    assert "files that no run wrote" in message


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("name", ["teacher", "student", "export", "soft_labels", "soft_labels/en-00000"])
def test_a_foreign_file_in_an_artefact_that_is_due_is_named_and_stays(xner, copied_run, name, is_whole):
    artefact = copied_run / name
    foreign = artefact / "notes" / "my.txt"
    if not is_whole:
        shutil.rmtree(artefact)
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    assert xner("distil", copied_run)[0] == (0 if is_whole else 5), "a whole artefact is not touched"
    options = ("--set", "finetune.epochs=2", "--set", "export.licence=mit")
    for dry in ((), ("--dry-run",)):
        code, _, message = xner("distil", copied_run, *options, *dry)
        assert (code, foreign.exists(), str(artefact) in message) == (5, True, True), message
        assert "no run wrote it" in message


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--set", "train.learning_rate=0.01")])
@pytest.mark.parametrize("name", ["train/mine.txt", "finetune/classifier/mine.txt", "pseudolabel/mine.txt"])
def test_a_foreign_file_in_a_stages_state_is_named_and_stays_reused_or_not(xner, copied_run, name, options):
    foreign = copied_run / "work" / name
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    expect(xner("distil", copied_run, *options), 5, f"{foreign}: no run wrote it", "Move it away")
    assert foreign.exists()


@pytest.mark.parametrize("name", ["student", "report.json"])
def test_a_link_to_what_is_not_there_is_named_before_a_run(xner, copied_run, name):
    (copied_run / name).rename(copied_run / "away")
    (copied_run / name).symlink_to("/nowhere")
    expect(xner("distil", copied_run), 5, f"{copied_run / name}: a link whose target is missing")


@pytest.mark.parametrize("setting", ["teacher.checkpoint={}", "teacher.voters=[{{checkpoint: {}}}]"])
def test_a_run_never_writes_over_what_it_reads(xner, copied_run, setting):
    shape = () if "voters" in setting else ("--set", "teacher.shape=null")
    setting = setting.format(copied_run / "teacher")
    result = xner("distil", copied_run, "--out", copied_run, *shape, "--set", setting)
    expect(result, 2, "checkpoint: ", "lies where this run writes")


@pytest.mark.parametrize("keys", [("dev",), ("languages", "en", "f1"), ("languages", "en", "f1_low")])
def test_a_value_that_a_report_leaves_out_is_no_defect(xner, damaged_report, finished_run, keys):
    run = damaged_report(("models", "teacher", *keys), None)
    assert xner("report", run)[0] == 0
    assert xner("compare", run, finished_run / "run")[0] == 0


LEFTOVERS = (
    *(f".{name}.{what}/x" for name in ("teacher", "student", "export") for what in ("writing", "removing", "replaced")),
    *("work/.train.removing/x", "work/train/checkpoints/.checkpoint-000-000000001.writing/x"),
    "work/train/precision.json",
    "work/train/processes.json",
    *(f"work/finetune/classifier/checkpoint-000-000000001/{name}" for name in ("state.json", "manifest.json")),
    *("report.json.tmp", "timings.json.tmp", "scores/student.npz.tmp", "bench/tag.json.tmp"),
    *("soft_labels/.en-00000.writing/x", "soft_labels/manifest.json.tmp"),
)


def test_what_killed_runs_left_goes_although_every_stage_is_reused_and_nothing_else_does(xner, copied_run):
    before = {path for path in copied_run.rglob("*") if path.is_file()}
    own = {copied_run / ".notes.writing", copied_run / "mine.tmp", copied_run.parent / "elsewhere" / "x"}
    for path in (*own, *(copied_run / name for name in LEFTOVERS)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")
    (copied_run / ".soft_labels.writing").symlink_to(copied_run.parent / "elsewhere")
    code, out, _ = xner("distil", copied_run, "--json")
    assert code == 0
    assert {step["state"] for step in json.loads(out)["steps"]} == {"reused"}
    left = {path for path in copied_run.rglob("*") if path.is_file() or path.is_symlink()}
    assert left - before == {path for path in own if path.is_relative_to(copied_run)}
    assert all(path.exists() for path in own)


@pytest.mark.parametrize("size", [500, 3000, 20_000])  # standard error is a file here, and has to hold the message
def test_a_disk_that_is_full_is_a_lack_of_resources_and_the_same_command_goes_on(xner, place, file_size_limit, size):
    with file_size_limit(size):
        code, _, message = distil(xner, place)
    assert code == 5
    assert "ulimit -f" in message
    assert not list((place / "run").rglob("*.writing"))
    assert distil(xner, place, "--until", "finetune")[0] == 0


def test_a_teacher_makes_no_noise_of_its_own(xner, place, finished_run):
    code, _, message = xner("evaluate", finished_run / "run" / "teacher", "--corpus", place / "corpus")
    assert (code, without_next(message)) == (0, "")


def test_an_encoder_without_its_classifier_is_trained_without_a_load_report(xner, place, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    encoder = {name: weight for name, weight in weights.items() if not name.startswith("classifier.")}
    assert len(encoder) < len(weights)
    save_file(encoder, checkpoint / "model.safetensors", metadata={"format": "pt"})
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    code, _, message = distil(xner, place, "--until", "finetune", "--set", "finetune.epochs=1")
    assert (code, without_next(message)) == (0, "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    assert transformers_logging.set_tqdm_hook(None) is None, "the hook of before, which was none"


def test_a_sentence_of_a_thousand_words_is_taught_labelled_and_scored_whole(xner, place):
    for split in ("train", "dev", "test"):
        words = [f"{split}{index % 7}" for index in range(1000)]
        text = "Ada\tB-PER\n" + "".join(f"{word}\tO\n" for word in words[1:-1]) + "Oslo\tB-LOC\n\u200b\tO\n"
        break_at = place / "corpus" / "en" / f"{split}.tsv"
        break_at.write_text(break_at.read_text(encoding="utf-8") + text, encoding="utf-8")
    n_words = (place / "corpus" / "en" / "train.tsv").read_text(encoding="utf-8").count("\t")
    code, out, message = distil(xner, place, "--json", "--set", "corpus.split_words=false")
    assert (code, message) == (0, "")
    report = json.loads(out)["report"]
    assert report["data"]["transfer"]["en"]["words"] == n_words
    assert report["data"]["transfer"]["en"]["lost_words"] == 1
    for model in report["models"].values():
        assert model["languages"]["en"]["words_lost"] == 1, "U+200B and no other word"
    store = open_store(place / "run" / "soft_labels")
    assert store.n_words == sum(counts.words for counts in store.counts.values())


@pytest.mark.parametrize(
    "address", ["https://me:SE CRET@host/a", "https://me:SECRET@host?token=SECRET", "//me:SECRET@host"]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("{}",),
        ("report", "{}"),
        ("compare", "{}", "{}"),
        ("distil", "demo", "--{}"),
        ("distil", "demo", "--only", "{}"),
        ("distil", "demo", "--from", "{}"),
        ("distil", "demo", "--out", "{}", "--dry-run"),
        ("distil", "demo", "--out", "{}", "--dry-run", "--json"),
        ("distil", "demo", "--out", "there", "--set", "student.vocabulary={}"),
    ],
)
def test_nothing_that_the_command_line_writes_has_a_password(capfd, monkeypatch, tmp_path, arguments, address):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xner", *(argument.format(address) for argument in arguments)])
    with pytest.raises(SystemExit):
        command_line.main()
    written = "".join(capfd.readouterr())
    assert "host" in written
    assert not any(part in written for part in ("me:", "SE", "CRET"))


def test_a_run_keeps_no_password_of_an_address(xner, place):
    """A URL on this machine: what a server's password would look like, without a server."""
    url = f"file://{place / 'corpus'}?token=SECRET"
    (place / "corpus?token=SECRET").symlink_to(place / "corpus")
    code, out, message = distil(xner, place, "--set", f"corpus.path={url}")
    assert (code, without_next(message)) == (0, "")
    files = [path for path in (place / "run").rglob("*") if path.is_file()]
    assert not [path for path in files if b"SECRET" in path.read_bytes()]
    assert "SECRET" not in out
    assert f"file://{place / 'corpus'}\n" in (place / "run" / "recipe.yaml").read_text(encoding="utf-8")
    code, out, _ = xner("distil", place / "run", "--dry-run")
    assert code == 0
    assert out.count("reused") == 5
