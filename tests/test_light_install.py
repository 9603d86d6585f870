"""What works with the base dependencies alone, and what a command says whose extra is missing.

Everything else that this environment has is hidden from the interpreters that these tests start.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.tiny_export import make_export

from xtremedistil_ner import errors

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGE = PROJECT["name"]
TEXT = "Abc de, fGh a.b ef gh Xyz"
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""
XNER = "from xtremedistil_ner.__main__ import main\nmain()"
TAG = """
import json
from xtremedistil_ner import Tagger
entities = Tagger.from_pretrained(sys.argv[1]).tag([sys.argv[2]])[0]
sys.stdout.write(json.dumps([entity.text for entity in entities]))
"""


def closure(texts) -> set[str]:
    """Names of the distributions that requirements bring, directly or not."""
    found, waiting = set(), [Requirement(text) for text in texts]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # of another system
            continue
    return found


@cache
def hidden_modules() -> set[str]:
    """Top-level modules of this environment that the base dependencies do not bring."""
    kept = closure(PROJECT["dependencies"]) | {PACKAGE}
    owners = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
    return {module for module, names in owners.items() if not names & kept}


def run(code, *arguments, stdin="", place=ROOT, hidden=None):
    hidden = hidden_modules() if hidden is None else hidden
    program = f"HIDDEN = {sorted(hidden)!r}\n{HIDE}\nsys.path.insert(0, {str(ROOT)!r})\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=place,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def xner(*arguments, **options):
    done = run(XNER, *arguments, **options)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("light"))


def test_the_probe_hides_what_training_needs():
    hidden = hidden_modules()
    assert {"torch", "transformers", "datasets", "pyarrow", "accelerate", "onnx", "ruamel"} <= hidden
    assert run("import torch").stderr.endswith("ModuleNotFoundError: No module named 'torch'\n")


def test_a_tagger_tags(export):
    done = run(TAG, export, TEXT)
    assert done.stderr == ""
    assert json.loads(done.stdout) == json.loads(run(TAG, export, TEXT, hidden=set()).stdout) != []


@pytest.mark.parametrize("options", [(), ("--format", "conll"), ("--input", "conll", "--columns", "word=1")])
def test_the_command_tags(export, options):
    stdin = "\n".join((*TEXT.split(), "")) if "--columns" in options else f"{TEXT}\n"
    done = xner("tag", export, *options, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == xner("tag", export, *options, stdin=stdin, hidden=set()).stdout != ""


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("distil", "--help"), ("recipes",), ("languages",)])
def test_what_only_talks_works(arguments):
    done = xner(*arguments)
    assert done.returncode == 0
    assert all(line.startswith("Next: xner ") for line in done.stderr.splitlines()), done.stderr
    assert done.stdout


def test_doctor_ends_without_a_traceback(tmp_path):
    done = xner("doctor", "--json", "--out", tmp_path)
    findings = {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}
    assert done.returncode in (0, 5), "5 where this checkout was installed with other dependencies"
    assert findings["packaged data"] == "ok"
    assert "precision" not in findings, "nobody can say without torch"


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("distil", "demo"), "distil"),
        (("train", "demo"), "distil"),
        (("evaluate", ".", "--corpus", "demo"), "distil"),
        (("bench", "."), "distil"),
        (("serve", "."), "serve"),
    ],
)
def test_a_command_without_its_extra_is_one_message_with_the_remedy(arguments, extra):
    done = xner(*arguments)
    command = arguments[0]
    pattern = rf"xner: {command} needs \w+\. Install it with: pip install 'xtremedistil-ner\[{extra}\]'\n"
    assert re.fullmatch(pattern, done.stderr), done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_a_module_that_no_extra_brings_is_a_defect():
    missing = ModuleNotFoundError("No module named 'xtremedistil_ner.nothing'", name="xtremedistil_ner.nothing")
    assert errors.lack_of_extra(missing, "distil") is None
    assert errors.lack_of_extra(ImportError("torch", name="torch"), "distil") is None


def test_every_module_of_an_extra_has_its_remedy():
    declared = {
        (Requirement(text).name.replace("-", "_").partition(".")[0], extra)
        for extra in ("distil", "serve", "spacy", "bench")
        for text in PROJECT["optional-dependencies"][extra]
        if Requirement(text).name != PACKAGE
    }
    assert set(errors._EXTRAS.items()) - declared == {("starlette", "serve")}, "FastAPI brings it"
    assert declared <= set(errors._EXTRAS.items())
