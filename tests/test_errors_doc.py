"""`docs/errors.md` draws the error tree that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from xtremedistil_ner.errors import XnerError

DOCUMENT = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
INDENT = 3  # characters per level of the drawing


def drawn_tree() -> set[tuple[str, str | None, int]]:
    """(class, parent, exit code) of every line of the drawing."""
    drawing = DOCUMENT.split("```")[1].strip("\n")
    ancestors: list[str] = []
    tree = set()
    for line in drawing.splitlines():
        branch, name, code = re.match(r"([│├└─ ]*)(\w+) +(\d+) ", line).groups()
        depth = len(branch) // INDENT
        del ancestors[depth:]
        tree.add((name, ancestors[-1] if ancestors else None, int(code)))
        ancestors.append(name)
    return tree


def tree_of(kind: type[XnerError], parent: str | None = None) -> set[tuple[str, str | None, int]]:
    tree = {(kind.__name__, parent, kind.exit_code)}
    for child in kind.__subclasses__():
        tree |= tree_of(child, kind.__name__)
    return tree


def test_the_drawn_tree_is_the_one_in_the_code():
    assert drawn_tree() == tree_of(XnerError)


def test_the_table_lists_exactly_the_exit_codes_that_can_occur():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCUMENT, flags=re.MULTILINE)}
    assert listed == {0} | {code for name, _, code in tree_of(XnerError) if name != "XnerError"}
