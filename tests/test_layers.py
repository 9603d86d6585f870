"""Imports point one way: between the rooms of the table in `docs/architecture.md`, and between the files of a room."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "xtremedistil_ner"
PUBLIC_SURFACE = f"{NAME}/__init__.py"


def rooms() -> list[str]:
    """Folders and single files of the package, in the order of the table: each imports only from those above it."""
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = document.split("## Rooms")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w.]+)/?` \|", table, flags=re.MULTILINE)


def existing_files() -> list[str]:
    paths = sorted((ROOT / NAME).rglob("*.py"))
    return [path.relative_to(ROOT).as_posix() for path in paths]


def room_of(file: str) -> str:
    return file.split("/")[1]


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


def imports_of(file: str) -> set[str]:
    return imported_files((ROOT / file).read_text(encoding="utf-8"))


def test_every_room_is_listed_once_and_every_listed_room_exists():
    assert sorted(rooms()) == sorted({room_of(file) for file in existing_files()})


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_from_rooms_listed_above_it(room):
    above = rooms()[: rooms().index(room)]
    upwards = [
        f"{file} imports {imported}"
        for file in existing_files()
        for imported in sorted(imports_of(file))
        if room_of(file) == room != room_of(imported) and room_of(imported) not in above
    ]
    assert upwards == []


def test_no_files_of_a_room_import_each_other_in_a_circle():
    for room, files in groupby(existing_files(), key=room_of):
        inside = {file: {name for name in imports_of(file) if room_of(name) == room} - {file} for file in files}
        assert list(TopologicalSorter(inside).static_order())  # raises CycleError


def test_the_public_surface_comes_last():
    assert rooms()[-1] == "__init__.py"


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
