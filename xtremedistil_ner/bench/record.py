"""What a benchmark leaves: a JSON file per stage, and the same as text.

Sizes are bytes, times seconds unless a name says otherwise; every speed and ratio is a median with its quartiles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtremedistil_ner.report.speed import RECORD_SCHEMA


def build_record(
    stage: str, exports: Mapping[str, str | None], machine: Mapping[str, Any], measured: Mapping[str, Any]
) -> dict[str, Any]:
    """A stage's results. `exports` are the fingerprints of the exports by name, as far as they have one."""
    return {
        "schema": RECORD_SCHEMA,
        "stage": stage,
        "exports": dict(exports),
        "machine": dict(machine),
        **measured,
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write a record as `<stage>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['stage']}.json"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path
