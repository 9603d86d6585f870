"""Imports point one way: `docs/architecture.md` lists the files in order, and a file imports only from above itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "xtremedistil_ner"
PUBLIC_SURFACE = f"{NAME}/__init__.py"


def listed_files() -> list[str]:
    """Files in the order of the table of rooms; a room's `__init__.py` comes before its other files."""
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = document.split("## Rooms")[1].split("\n## ")[0]
    files = []
    for room, column in re.findall(r"^\| `([\w.]+/?)` \| (.*?) \|", table, flags=re.MULTILINE):
        if room.endswith("/"):
            files += [f"{NAME}/{room}__init__.py"]
            files += [f"{NAME}/{room}{name}" for name in re.findall(r"`(\w+\.py)`", column)]
        else:
            files.append(f"{NAME}/{room}")
    return files


def existing_files() -> list[str]:
    paths = sorted((ROOT / NAME).rglob("*.py"))
    return [path.relative_to(ROOT).as_posix() for path in paths]


def imported_files(source: str) -> set[str]:
    """Files of this package that a source text imports, at the top and inside functions."""
    files = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            files |= {file_of(alias.name) for alias in node.names if alias.name.split(".")[0] == NAME}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full, not relative"
            if node.module.split(".")[0] == NAME:
                files |= {file_of(node.module, alias.name) for alias in node.names if alias.name != "__version__"}
    return files


def file_of(module: str, name: str | None = None) -> str:
    """The file that `import module` or `from module import name` loads."""
    folder = module.replace(".", "/")
    candidates = [f"{folder}/{name}.py", f"{folder}/{name}/__init__.py"] if name else []
    candidates += [f"{folder}.py", f"{folder}/__init__.py"]
    existing = [candidate for candidate in candidates if (ROOT / candidate).is_file()]
    return existing[0] if existing else candidates[-2]


def test_every_file_is_listed_once_and_every_listed_file_exists():
    listed = listed_files()
    assert len(listed) == len(set(listed))
    assert set(existing_files()) - set(listed) == set(), "files that docs/architecture.md does not list"
    assert set(listed) - set(existing_files()) == set(), "files that docs/architecture.md lists and nobody wrote"


@pytest.mark.parametrize("file", existing_files())
def test_a_file_imports_only_from_files_listed_above_it(file):
    order = {name: position for position, name in enumerate(listed_files())}
    assert file in order, "docs/architecture.md does not list this file"
    imported = imported_files((ROOT / file).read_text(encoding="utf-8"))
    upwards = [name for name in imported if name not in order or order[name] >= order[file]]
    assert upwards == []


def test_the_public_surface_comes_last():
    assert listed_files()[-1] == PUBLIC_SURFACE


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    from xtremedistil_ner.errors import XnerError", {f"{NAME}/errors.py"}),
        ("import xtremedistil_ner.errors as e", {f"{NAME}/errors.py"}),
        ("from xtremedistil_ner import errors", {f"{NAME}/errors.py"}),
        ("from xtremedistil_ner import Tagger", {PUBLIC_SURFACE}),
        ("from xtremedistil_ner import __version__", set()),
        ("import json, numpy.linalg\nfrom pathlib import Path", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source, expected):
    assert imported_files(source) == expected
