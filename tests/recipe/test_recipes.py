"""Every packaged recipe loads, dry-runs, and in a tiny version runs from teacher to export on an old processor.

The old processor is played by two variables that oneDNN and torch read when they start, so those runs have a process
of their own. Recipes that share a teacher share it there as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_run import write_corpus, write_recipe

from xtremedistil_ner import __main__ as command_line
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))
STRATEGIES = {"D0", "D0-S", "D1", "D2", "D3.1", "D3.2", "D4.1", "D4.2", "D4.2-control", "hard"}
SMALL = (
    "corpus.hub=null",
    "corpus.languages=[]",
    "finetune.epochs=1",
    "finetune.batch_sentences=8",
    "finetune.masked_language_model.updates=2",
    "train.updates=13",
    "train.batch_sentences=8",
    "train.evaluate_every=5",
    "evaluate.bootstrap=10",
)
SMALL_STUDENT = ("student.embedding_width=8", "student.hidden_width=6")
SMALL_TRANSFORMER = ("student.transformer={layers: 1, hidden_width: 8, heads: 2}",)
OLD_PROCESSOR = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SMALL_SHAPE = "teacher.shape={layers: 1, hidden_width: 16, heads: 2, vocabulary_size: 120}"


def make_material(folder):
    """A tiny corpus, its text, a fine-tuned teacher that serves as checkpoint, and a WordPiece vocabulary."""
    corpus = write_corpus(folder / "corpus")
    recipe = load_recipe(write_recipe(folder / "tiny.yaml", corpus))
    run_pipeline(recipe, folder / "run", until="finetune", processes=1, tell=silent)
    (folder / "text").mkdir()
    (folder / "text" / "en.txt").write_text("Nobody left Oslo.\nAlan of Acme lives here.\n", encoding="utf-8")


def small_changes(name, material):
    """What makes a recipe tiny, as `--set` takes it."""
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    small = SMALL_STUDENT if recipe.student.is_own else SMALL_TRANSFORMER
    overrides = [*SMALL, *small, f"corpus.path={material / 'corpus'}"]
    if recipe.transfer.path:
        overrides.append(f"transfer.path={material / 'text'}")
    if recipe.teacher.shape:
        overrides.append(SMALL_SHAPE)
    else:
        overrides.append(f"teacher.checkpoint={material / 'run' / 'teacher'}")
    if recipe.student.vocabulary:
        overrides += ["student.vocabulary=trained", "student.vocabulary_size=90"]
    return overrides


def tiny(name, material):
    return load_recipe(RECIPES / f"{name}.yaml", overrides=small_changes(name, material))


def run_every_recipe(folder):
    """README's command with every recipe, into `folder/runs`; those that share a teacher's labels take them."""
    make_material(folder)
    labelled = {}
    for name in NAMES:
        recipe, out = tiny(name, folder), folder / "runs" / name
        labels = stage_fingerprints(recipe, open_corpus(recipe.corpus))["pseudolabel"]
        take = ["--from", str(labelled[labels])] if labels in labelled else []
        changes = [part for change in small_changes(name, folder) for part in ("--set", change)]
        sys.argv = ["xner", "distil", name, *changes, "--out", str(out), *take, "--processes", "1"]
        with pytest.raises(SystemExit) as ending:
            command_line.main()
        assert not ending.value.code, name
        labelled.setdefault(labels, out)


def test_there_is_a_recipe_for_every_strategy():
    found = {load_recipe(path).train.strategy for path in (RECIPES / "strategies").glob("*.yaml")}
    assert found == STRATEGIES


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_is_for_what_it_needs_and_how_to_run_it(name):
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert header[0].endswith(".")
    assert any(line.startswith("# Needs: ") for line in header)
    assert any(line.startswith("#   xner distil") for line in header)
    assert load_recipe(RECIPES / f"{name}.yaml").name == name.rpartition("/")[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_leaves_precision_to_the_machine(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert {recipe.finetune.precision, recipe.pseudolabel.precision, recipe.train.precision} == {"auto"}


def test_a_tiny_version_of_every_recipe_dry_runs_and_runs_on_an_old_processor(tmp_path):
    environment = {**os.environ, **OLD_PROCESSOR, "PYTHONPATH": str(Path(__file__).parents[1])}
    program = (
        f"import pathlib; from recipe import test_recipes as t; t.run_every_recipe(pathlib.Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    for name in NAMES:
        run = tmp_path / "runs" / name
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        assert set(report["models"]) >= {"teacher", "student"}, name
        assert set(report["models"]["student"]["languages"]) == {"en", "no"}, name
        assert set(report["run"]["precision"].values()) == {"float32"}, name
        assert list((run / "export").rglob("model.onnx")), name
        steps = run_pipeline(tiny(name, tmp_path), tmp_path / "not-there", dry_run=True, tell=silent).steps
        assert [step.state for step in steps] == ["missing"] * 5, name
        assert all(step.precision for step in steps), name
        assert not (tmp_path / "not-there").exists(), name
