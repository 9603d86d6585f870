"""The pages under `docs/` as test oracles."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def table_under(page: str, heading: str) -> list[list[str]]:
    """Rows of the first table after a heading of a page, without its head."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = text.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len(rows) > 2, f"{page} has no table under {heading}"
    return rows[2:]
