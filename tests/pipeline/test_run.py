"""The stages in order: what runs, what is reused, what a change invalidates; `docs/formats.md` is the oracle."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from support.documents import table_under
from support.tiny_run import labelled_text, write_corpus

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import CorpusError, Interrupted, UsageError
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.stage_table import STAGES

CHECKPOINT = ("teacher={checkpoint: some-org/some-encoder}",)


def tree_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def states_of(result):
    return [step.state for step in result.steps]


@pytest.fixture
def run_copy(finished_run, tmp_path):
    """A copy of the finished run, of its corpus and recipe, to change."""
    shutil.copytree(finished_run, tmp_path / "copy")
    recipe = (tmp_path / "copy" / "tiny.yaml").read_text(encoding="utf-8")
    recipe = recipe.replace(str(finished_run), str(tmp_path / "copy"))
    (tmp_path / "copy" / "tiny.yaml").write_text(recipe, encoding="utf-8")
    return tmp_path / "copy"


def pipeline(place, *overrides, out="run", **options):
    recipe = load_recipe(place / "tiny.yaml", overrides=overrides)
    return run_pipeline(recipe, place / out, processes=1, tell=silent, **options)


def add_sentence(place, name):
    path = place / "corpus" / name
    path.write_text(path.read_text(encoding="utf-8") + labelled_text(1, numbered="new-"), encoding="utf-8")


def move_corpus(place):
    shutil.copytree(place / "corpus", place / "moved")
    return (f"corpus.path={place / 'moved'}",)


def add_text(place):
    (place / "text").mkdir()
    (place / "text" / "en.txt").write_text("Ada came .\n", encoding="utf-8")
    return (f"transfer.path={place / 'text'}",)


def add_language(place):
    (place / "corpus" / "da").mkdir()
    (place / "corpus" / "da" / "dev.tsv").write_text(labelled_text(2, numbered="da-"), encoding="utf-8")


DATA_CHANGES = {
    "`corpus.path=<the same bytes elsewhere>`": move_corpus,
    "`transfer.path=<text>`": add_text,
    "a training file": lambda place: add_sentence(place, "en/train.tsv"),
    "a dev file": lambda place: add_sentence(place, "en/dev.tsv"),
    "a test file": lambda place: add_sentence(place, "no/test.tsv"),
    "a language that the recipe does not name": add_language,
}


def fingerprints(place, overrides):
    recipe = load_recipe(place / "tiny.yaml", overrides=["corpus.languages=[en, no]", *overrides])
    return stage_fingerprints(recipe, open_corpus(recipe.corpus))


@pytest.mark.parametrize(
    "row", table_under("formats.md", "What a change invalidates"), ids=lambda row: row[0].strip("`")
)
@pytest.mark.parametrize(
    ("column", "origin"),
    [(1, (*CHECKPOINT, "finetune.epochs=0")), (2, CHECKPOINT), (3, ())],
    ids=["as it is", "fine-tuned", "scratch"],
)
def test_a_change_invalidates_what_the_table_says_and_nothing_else(finished_run, tmp_path, row, column, origin):
    write_corpus(tmp_path / "corpus")
    text = (finished_run / "tiny.yaml").read_text(encoding="utf-8").replace(str(finished_run), str(tmp_path))
    (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
    before = fingerprints(tmp_path, origin)
    if row[0] in DATA_CHANGES:
        changes = DATA_CHANGES[row[0]](tmp_path) or ()
    else:
        changes = (row[0].strip("`"),)
    after = fingerprints(tmp_path, [*origin, *changes])
    changed = [stage for stage in STAGES if before[stage] != after[stage]]
    assert changed == ([] if row[column] == "nothing" else list(STAGES[STAGES.index(row[column]) :]))


def test_a_dry_run_leaves_no_file(finished_run):
    result = pipeline(finished_run, out="not-there", dry_run=True)
    assert states_of(result) == ["missing"] * 5
    assert not (finished_run / "not-there").exists()


def test_a_dry_run_says_what_a_change_makes_stale(finished_run):
    before = tree_of(finished_run / "run")
    assert states_of(pipeline(finished_run, dry_run=True)) == ["reused"] * 5
    result = pipeline(finished_run, "train.learning_rate=5e-4", dry_run=True, until="evaluate")
    assert states_of(result) == ["reused", "reused", "stale", "stale", "not asked"]
    assert tree_of(finished_run / "run") == before


def test_a_finished_run_is_reused_byte_for_byte(run_copy):
    before = tree_of(run_copy / "run")
    result = pipeline(run_copy)
    assert states_of(result) == ["reused"] * 5
    assert result.report == json.loads((run_copy / "run" / "report.json").read_text(encoding="utf-8"))
    assert tree_of(run_copy / "run") == before | {"recipe.yaml": tree_of(run_copy / "run")["recipe.yaml"]}


def test_a_new_learning_rate_reuses_teacher_and_soft_labels(run_copy):
    before = tree_of(run_copy / "run")
    result = pipeline(run_copy, "train.learning_rate=5e-2")
    assert states_of(result) == ["reused", "reused", "done", "done", "done"]
    after = tree_of(run_copy / "run")
    changed = {name.partition("/")[0] for name in before if after.get(name) != before[name]}
    assert {"student", "export", "report.json"} <= changed
    assert not changed & {"teacher", "soft_labels"}
    assert states_of(pipeline(run_copy, "train.learning_rate=5e-2")) == ["reused"] * 5


def test_a_missing_shard_is_labelled_again_to_the_same_bytes_and_the_others_stay(run_copy):
    labels = RunFolder(run_copy / "run").soft_labels
    before = tree_of(labels)
    untouched = (labels / "no-00000" / "logits.npy").stat()
    shutil.rmtree(labels / "en-00000")
    result = pipeline(run_copy)
    assert states_of(result) == ["reused", "done", "reused", "reused", "reused"]
    assert tree_of(labels) == before
    assert (labels / "no-00000" / "logits.npy").stat().st_ino == untouched.st_ino


def test_a_teacher_that_reads_shorter_windows_labels_again(finished_run, tmp_path):
    """The same bytes of a teacher give other soft labels then."""
    teacher = f"teacher={{checkpoint: {finished_run / 'run' / 'teacher'}}}"
    logits = {}
    for out, windows in {"changed": (32, 8), "new": (8,)}.items():
        for pieces in windows:
            overrides = [teacher, f"teacher.max_pieces={pieces}", "finetune.epochs=0"]
            recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
            run_pipeline(recipe, tmp_path / out, until="pseudolabel", processes=1, tell=silent)
            logits[out, pieces] = tree_of(tmp_path / out / "soft_labels")["en-00000/logits.npy"]
    assert logits["changed", 32] != logits["new", 8], "else this shows nothing"
    assert logits["changed", 8] == logits["new", 8]


def test_a_teacher_is_fine_tuned_to_its_last_update_however_often_it_is_looked_at(finished_run, tmp_path):
    """At a learning rate of next to nothing dev never improves; 6 updates an epoch make 6 looks where 4 were asked."""
    overrides = ["finetune.learning_rate=1e-12", "finetune.epochs=2", "finetune.evaluations_per_epoch=4"]
    recipe, events = load_recipe(finished_run / "tiny.yaml", overrides=overrides), []
    run_pipeline(recipe, tmp_path / "run", until="finetune", tell=events.append)
    assert [event.done for event in events if event.unit == "updates"] == list(range(1, 13))


@pytest.mark.parametrize("stage", ["pseudolabel", "train", "evaluate", "export"])
def test_a_stage_alone_without_its_inputs_is_wrong_use(finished_run, tmp_path, stage):
    recipe = load_recipe(finished_run / "tiny.yaml")
    with pytest.raises(UsageError, match=rf"{stage} needs .*teacher, which is not there"):
        run_pipeline(recipe, tmp_path / "run", only=stage, tell=silent)


def test_a_stage_alone_refuses_stale_inputs(run_copy):
    with pytest.raises(UsageError, match=r"train needs .*teacher, which is stale"):
        pipeline(run_copy, "finetune.learning_rate=1e-3", only="train")
    assert states_of(pipeline(run_copy, dry_run=True)) == ["reused"] * 5


def test_a_stage_alone_runs_alone(run_copy):
    result = pipeline(run_copy, "train.learning_rate=5e-2", only="train")
    assert states_of(result) == ["reused", "reused", "done", "not asked", "not asked"]
    assert result.report is None, "the report is of the student before"


def test_one_stage_and_a_stage_to_stop_after_are_not_asked_for_at_once(finished_run):
    with pytest.raises(UsageError, match="give one of the two"):
        pipeline(finished_run, only="train", until="finetune")


@pytest.mark.parametrize("option", ["only", "until"])
def test_an_unknown_stage_is_wrong_use(finished_run, option):
    with pytest.raises(UsageError, match="distil: no such stage"):
        pipeline(finished_run, dry_run=True, **{option: "distil"})


def test_teacher_and_soft_labels_of_another_run_are_linked_and_not_copied(finished_run, tmp_path):
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=["student.hidden_width=5"])
    old, new = RunFolder(finished_run / "run"), RunFolder(tmp_path / "run")
    before = tree_of(old.path)
    result = run_pipeline(recipe, new.path, take_from=old.path, until="train", tell=silent)
    assert states_of(result) == ["taken", "taken", "done", "not asked", "not asked"]
    for name in ("teacher/model.safetensors", "soft_labels/manifest.json", "soft_labels/en-00000/logits.npy"):
        assert (new.path / name).samefile(old.path / name)
    assert tree_of(old.path) == before


def test_what_does_not_fit_is_not_taken_from_another_run(finished_run, tmp_path):
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=["pseudolabel.batch_pieces=99"])
    result = run_pipeline(recipe, tmp_path / "run", take_from=finished_run / "run", dry_run=True, tell=silent)
    assert states_of(result) == ["taken", "missing", "missing", "missing", "missing"]


@pytest.mark.parametrize(
    ("overrides", "reasons"),
    [
        (("finetune.learning_rate=1e-3", "train.patience=2"), ["finetune.learning_rate: 0.001 here, 5e-05 there"]),
        (("finetune.dev_sentences=3",), ["finetune.dev_sentences: 3 here, 2000 there"]),
        (("seed=5", "corpus.languages=[en]"), ["seed: 5 here, 13 there", 'corpus.languages: ["en"] here, [] there']),
        (("pseudolabel.batch_pieces=99",), ["pseudolabel.batch_pieces: 99 here, null there"]),
        (("teacher.shape.layers=2", "evaluate.bootstrap=3"), ["teacher.shape.layers: 2 here, 1 there"]),
    ],
)
def test_what_cannot_be_taken_from_another_run_is_an_error_that_names_the_settings(
    finished_run, tmp_path, overrides, reasons
):
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
    with pytest.raises(UsageError) as error:
        run_pipeline(recipe, tmp_path / "run", take_from=finished_run / "run", tell=silent)
    head, *named, remedy = str(error.value).splitlines()
    assert head.endswith(" does not fit this recipe. What differs:")
    assert named == [f"  {reason}" for reason in reasons]
    assert remedy == "Take the same settings, or add --rebuild to make it again."
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_cannot_be_taken_is_made_again_where_that_is_wanted(finished_run, tmp_path):
    recipe, events = load_recipe(finished_run / "tiny.yaml", overrides=["finetune.learning_rate=1e-3"]), []
    options = {"take_from": finished_run / "run", "rebuild": True, "until": "finetune"}
    assert states_of(run_pipeline(recipe, tmp_path / "run", tell=events.append, **options))[0] == "done"
    assert "finetune.learning_rate: 0.001 here, 5e-05 there" in events[0].message


def test_changed_files_and_a_run_without_a_teacher_are_named(run_copy):
    add_sentence(run_copy, "en/train.tsv")
    shutil.copy(run_copy / "tiny.yaml", run_copy / "run" / "recipe.yaml")
    with pytest.raises(UsageError, match="no setting: files that were read then have changed"):
        pipeline(run_copy, out="new", take_from=run_copy / "run")
    with pytest.raises(UsageError, match=r"teacher is not there or not whole\.\nTake the same settings"):
        pipeline(run_copy, out="new", take_from=run_copy / "corpus")


def test_soft_labels_that_the_other_run_does_not_have_are_made(run_copy):
    shutil.rmtree(run_copy / "run" / "soft_labels")
    result = pipeline(run_copy, out="new", take_from=run_copy / "run", until="pseudolabel")
    assert states_of(result)[:2] == ["taken", "done"]


@pytest.mark.slow
def test_processes_of_an_outside_launcher_take_from_another_run_and_refuse_stale_inputs(finished_run, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["xtremedistil_ner", "distil", finished_run / "tiny.yaml", "--out", tmp_path / "run", "--json"]

    def launched(*options):
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    done = launched("--from", finished_run / "run", "--set", "student.hidden_width=5")
    assert done.returncode == 0, done.stderr
    steps = [step["state"] for step in json.loads(done.stdout)["steps"]]
    assert steps == ["taken", "taken", "done", "done", "done"]
    before = tree_of(tmp_path / "run")
    refused = launched("--only", "train", "--set", "student.hidden_width=7", "--set", "finetune.learning_rate=1e-3")
    assert refused.returncode != 0
    assert "teacher, which is stale" in refused.stderr
    assert {name for name, content in tree_of(tmp_path / "run").items() if before[name] != content} <= {"recipe.yaml"}


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_split_that_no_language_has_is_named_before_anything_runs(run_copy, split):
    for language in ("en", "no"):
        (run_copy / "corpus" / language / f"{split}.tsv").unlink()
    with pytest.raises(CorpusError, match=f"no language has a {split} split"):
        pipeline(run_copy, out="new")
    assert not (run_copy / "new").exists()


def test_the_run_folder_holds_what_the_table_lists(finished_run):
    listed = {name.strip("`").rstrip("/") for name, _ in table_under("formats.md", "Run folder")}
    found = {path.name for path in (finished_run / "run").iterdir()}
    assert found | {"work"} == listed


def test_every_file_of_a_shard_is_of_the_listed_dtype_and_shape(finished_run):
    shard = finished_run / "run" / "soft_labels" / "en-00000"
    arrays = {path.name: np.load(path) for path in shard.glob("*.npy")}
    sizes = {
        "bytes": len(arrays["text.npy"]),
        "sentences + 1": len(arrays["text_offsets.npy"]),
        "words": int(arrays["word_offsets.npy"][-1]),
        "tags": 7,
    }
    listed = {}
    for name, dtype, shape in table_under("formats.md", "Soft-label shards"):
        listed[name.strip("`")] = dtype, tuple(sizes[size] for size in re.findall(r"[a-z][a-z +1]*", shape))
    assert {name: (str(array.dtype), array.shape) for name, array in arrays.items()} == listed


def test_a_signal_at_any_message_of_a_run_ends_it_with_130_and_the_same_command_makes_the_same_files(
    run_copy, finished_run
):
    """Between stages, while a stage loads, trains, labels, scores and exports: no moment loses a signal."""
    said = set()

    def interrupt(event):
        key = (event.stage, event.message, event.done)
        if not event.is_count and key not in said and not event.metrics:
            said.add(key)
            signal.raise_signal(signal.SIGTERM)

    recipe = load_recipe(run_copy / "tiny.yaml", overrides=("pseudolabel.shard_sentences=12",))
    interruptions = 0
    while True:
        try:
            run_pipeline(recipe, run_copy / "new", processes=1, tell=interrupt)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions == len(said) > 15
    new, old = tree_of(run_copy / "new"), tree_of(finished_run / "run")
    for name in ("teacher/model.safetensors", "student/model.safetensors", "export/onnx/model.onnx"):
        assert new[name] == old[name]
    assert not [path for path in (run_copy / "new").rglob(".*") if path.name not in (".lock", ".workers.lock")]
