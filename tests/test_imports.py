"""What a fresh interpreter loads, and what the package shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_layers import ROOT, existing_files, room_of

import xtremedistil_ner

HEAVY = ("torch", "transformers")


def heavy_modules_after(code: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """Which heavy libraries a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport json, sys\nsys.stderr.write(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stderr)


def test_the_probe_sees_a_heavy_import():
    assert heavy_modules_after("import sys; sys.modules['torch'] = sys") == ["torch"]


@pytest.mark.parametrize(
    "code",
    [
        "import xtremedistil_ner",
        "from xtremedistil_ner import Tagger",
        "from xtremedistil_ner import LabelScheme, Sentence, load_recipe",
        "import xtremedistil_ner.commands.main",
    ],
)
def test_importing_loads_neither_torch_nor_transformers(code):
    assert heavy_modules_after(code) == []


def test_no_module_that_tagging_needs_loads_torch_or_transformers():
    light = [file for file in existing_files() if room_of(file) in ("tagging", "commands", "recipe", "corpus")]
    modules = [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in light]
    wanted = [module for module in modules if not module.endswith("spacy_component")]
    assert heavy_modules_after("\n".join(f"import {module}" for module in wanted)) == []


def test_help_loads_neither_torch_nor_transformers_nor_numpy():
    code = (
        "import contextlib, sys\nfrom xtremedistil_ner.__main__ import main\n"
        "sys.argv = ['xner', '--help']\nwith contextlib.suppress(SystemExit):\n    main()"
    )
    assert heavy_modules_after(code, (*HEAVY, "numpy")) == []


def test_the_public_surface_is_the_documented_one():
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = document.split("## Public names")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    assert documented == set(xtremedistil_ner.__all__) == set(dir(xtremedistil_ner))


@pytest.mark.parametrize("name", xtremedistil_ner.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(xtremedistil_ner, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xtremedistil_ner.nothing


def test_the_package_ships_its_types():
    assert (Path(xtremedistil_ner.__file__).parent / "py.typed").is_file()
