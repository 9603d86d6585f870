"""Pages that are generated or held equal to the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_recipe_page_is_what_the_schema_generates() -> None:
    spec = importlib.util.spec_from_file_location("generate_recipes", DOCS / "generate_recipes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "recipes.md").read_text(encoding="utf-8") == module.format_schema()
