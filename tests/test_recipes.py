"""Every packaged recipe loads, dry-runs, and in a tiny version runs from teacher to export."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import write_corpus, write_recipe

from xtremedistil_ner.pipeline import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe import load_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
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
SMALL_STUDENT = {
    "bilstm": ("student.embedding_width=8", "student.hidden_width=6"),
    "cnn": ("student.embedding_width=8", "student.hidden_width=6"),
    "transformer": ("student.transformer={layers: 1, hidden_width: 8, heads: 2}",),
}
SMALL_SHAPE = "teacher.shape={layers: 1, hidden_width: 16, heads: 2, vocabulary_size: 120}"


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A tiny corpus, its text, a fine-tuned teacher that serves as checkpoint, and a WordPiece vocabulary."""
    folder = tmp_path_factory.mktemp("recipes")
    corpus = write_corpus(folder / "corpus")
    recipe = load_recipe(write_recipe(folder / "tiny.yaml", corpus))
    run_pipeline(recipe, folder / "run", until="finetune", processes=1, report=silent)
    (folder / "text").mkdir()
    (folder / "text" / "en.txt").write_text("Nobody left Oslo.\nAlan of Acme lives here.\n", encoding="utf-8")
    return folder


def tiny(name, material):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    overrides = [*SMALL, *SMALL_STUDENT[recipe.student.kind], f"corpus.path={material / 'corpus'}"]
    if recipe.transfer.path:
        overrides.append(f"transfer.path={material / 'text'}")
    if recipe.teacher.shape:
        overrides.append(SMALL_SHAPE)
    else:
        overrides.append(f"teacher.checkpoint={material / 'run' / 'teacher'}")
    if recipe.student.vocabulary:
        overrides += ["student.vocabulary=trained", "student.vocabulary_size=90"]
    return load_recipe(RECIPES / f"{name}.yaml", overrides=overrides)


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
def test_a_tiny_version_of_a_recipe_dry_runs_and_runs(name, material, tmp_path):
    recipe = tiny(name, material)
    steps = run_pipeline(recipe, tmp_path / "run", dry_run=True, report=silent).steps
    assert [step.state for step in steps] == ["missing"] * 5
    assert not (tmp_path / "run").exists()
    report = run_pipeline(recipe, tmp_path / "run", processes=1, report=silent).report
    assert set(report["models"]) >= {"teacher", "student"}
    assert set(report["models"]["student"]["languages"]) == {"en", "no"}
    assert list((tmp_path / "run" / "export").rglob("model.onnx"))
