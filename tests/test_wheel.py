"""What is in the wheel, and that it works where nothing else of this repository is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support.tiny_export import make_export

from xtremedistil_ner.tagging.tagger import Tagger

ROOT = Path(__file__).parents[1]
BUILD = "import sys, hatchling.build; sys.stdout.write(hatchling.build.build_wheel(sys.argv[1]))"
TINY = (
    "corpus.train_sentences=12",
    "transfer.training_text=false",
    "transfer.sentences=5",
    "teacher.shape={layers: 1, hidden_width: 16, heads: 2, vocabulary_size: 800}",
    "finetune.epochs=1",
    "finetune.dev_sentences=5",
    "student.embedding_width=8",
    "student.hidden_width=6",
    "train.strategy=D1",
    "train.updates=6",
    "train.dev_sentences=5",
    "train.batch_sentences=16",
    "evaluate={bootstrap: 2, splits: [test]}",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    name = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return folder / name


def files_below(*places):
    return {
        path.relative_to(ROOT).as_posix() for place in places for path in (ROOT / place).rglob("*") if path.is_file()
    }


def test_the_wheel_has_the_package_the_recipes_and_the_demo_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in files_below("xtremedistil_ner") if "__pycache__" not in name}
    recipes = {f"xtremedistil_ner/_data/{name}" for name in files_below("recipes")}
    demo = {f"xtremedistil_ner/_data/{name.removeprefix('data/')}" for name in files_below("data/demo")}
    assert found == package | recipes | demo
    assert {"recipes/demo.yaml", "recipes/strategies/d1.yaml"} <= {name.partition("_data/")[2] for name in recipes}
    report = ("page.html.jinja", "report.html.jinja", "comparison.html.jinja", "macros.html.jinja", "paper_values.toml")
    assert {f"xtremedistil_ner/report/{name}" for name in report} <= found


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < 2.5e6, "of which the demo may have 1.5 MB"


def make_environment(folder, wheel):
    """A fresh environment with the wheel alone; its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    return site


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel, and the present one's other packages; its folder of commands."""
    folder = tmp_path_factory.mktemp("environment")
    site = make_environment(folder, wheel)
    # A folder named in a .pth file gives its packages, but its own .pth files, an editable install's, are not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin"


def call(installed, place, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(installed / command[0]), *command[1:]], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WHERE = "import sys, xtremedistil_ner; sys.stdout.write(xtremedistil_ner.__file__)"
TAG = (
    "import json, sys; from xtremedistil_ner import Tagger; "
    "sys.stdout.write(json.dumps(Tagger.from_pretrained('runs/demo/export').tag([''])))"
)


@pytest.mark.slow
def test_the_installed_wheel_distils_the_demo_in_an_empty_folder(installed, tmp_path):
    where = call(installed, tmp_path, "python", "-c", WHERE)
    assert Path(where).is_relative_to(installed.parent), "not this checkout"
    settings = [part for change in TINY for part in ("--set", change)]
    result = json.loads(call(installed, tmp_path, "xner", "distil", "demo", "--langs", "all", *settings, "--json"))
    assert [step["state"] for step in result["steps"]] == ["done"] * 5
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    report = result["report"]
    assert report["synthetic"] is True
    languages = {path.name for path in (ROOT / "data" / "demo").iterdir() if path.is_dir()}
    assert set(report["models"]["student"]["languages"]) == languages
    assert "Synthetic data" in (tmp_path / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert json.loads(call(installed, tmp_path, "python", "-c", TAG)) == [[]], "no text, no entities"


@pytest.mark.slow
def test_the_installed_wheel_lists_its_recipes_and_finds_itself_whole(installed, tmp_path):
    assert "strategies/d4.2" in call(installed, tmp_path, "xner", "recipes")
    findings = json.loads(call(installed, tmp_path, "xner", "doctor", "--json"))
    assert [finding for finding in findings if finding["state"] == "problem"] == []


def test_three_packages_are_enough_to_tag(wheel, tmp_path):
    """As docs/serving.md installs it: nothing but the wheel, onnxruntime, tokenizers and numpy can be imported."""
    site = make_environment(tmp_path / "environment", wheel)
    for package in ("numpy", "numpy.libs", "onnxruntime", "tokenizers"):
        (site / package).symlink_to(Path(sysconfig.get_path("purelib")) / package)
    export = make_export(tmp_path)
    program = (
        "import json, sys; from xtremedistil_ner import Tagger; tagger = Tagger.from_pretrained('export'); "
        "sys.stdout.write(json.dumps([entity.text for entity in tagger.tag([sys.argv[1]])[0]]))"
    )
    text = "Abc de, fGh a.b ef gh Xyz"
    found = json.loads(call(tmp_path / "environment" / "bin", tmp_path, "python", "-W", "error", "-c", program, text))
    assert found == [entity.text for entity in Tagger.from_pretrained(export).tag([text])[0]] != []


EXTRAS = {"": "onnxruntime", "distil": "torch", "serve": "fastapi", "spacy": "spacy", "bench": "spacy"}
MOST_BASE_BYTES = 200e6


def can_fetch(python):
    """Whether pip reaches an index."""
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", python.parent, "packaging"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_pip_installs_the_wheel_with_an_extra_and_it_starts(wheel, tmp_path, record_property, extra):
    """Sizes are of files as they come, without bytecode and without pip; `--junit-xml` records them."""
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    if not can_fetch(python):
        pytest.skip("pip reaches no index")
    (site,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    before = size_of(site)
    wanted = f"xtremedistil-ner[{extra}] @ {wheel.as_uri()}"
    install = ["install", "--quiet", "--no-compile", "-c", str(ROOT / "constraints.txt"), wanted]
    subprocess.run([python, "-m", "pip", *install], check=True)
    size = size_of(site) - before
    record_property("site_packages_bytes", size)
    sys.stdout.write(f"[{extra}]: {size / 1e6:.0f} MB\n")
    assert call(python.parent, tmp_path, "xner", "--version")
    assert (
        call(python.parent, tmp_path, "python", "-c", f"import xtremedistil_ner.tagging.tagger, {EXTRAS[extra]}") == ""
    )
    if not extra:
        assert not (site / "torch").exists()
        assert size <= MOST_BASE_BYTES


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
