"""Why a teacher or soft labels of another run do not fit a recipe, in the words of the recipe.

A fingerprint says that they do not fit, and not why. So each field in which the two recipes differ is set to the other
run's value alone: a field that then changes the fingerprint is a reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import XnerError
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.stage_table import Stage, artefact_of, current_fingerprint

_MOST_SHOWN = 80
"""Characters of a setting."""


def explain_misfit(recipe: Recipe, other: RunFolder, stage: Stage) -> str:
    """What keeps a stage's artefact of another run from being taken, a line for each setting."""
    artefact = artefact_of(other, stage)
    if current_fingerprint(other, stage) is None:
        return f"{artefact} is not there or not whole."
    try:
        theirs = load_recipe(other.recipe)
    except (XnerError, OSError):
        return f"{artefact} does not fit this recipe, and {other.recipe} cannot be read, which would say why."
    reasons = [
        f"  {path}: {_shown(here)} here, {_shown(there)} there"
        for path, here, there in _differences("", recipe, theirs)
        if _decides(recipe, path, there, stage)
    ]
    if not reasons:
        reasons = ["  no setting: files that were read then have changed, or another version made it"]
    return "\n".join((f"{artefact} does not fit this recipe. What differs:", *reasons))


def _differences(prefix: str, here: BaseModel, there: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    for name in type(here).model_fields:
        ours, theirs = getattr(here, name), getattr(there, name)
        if isinstance(ours, BaseModel) and isinstance(theirs, BaseModel):
            yield from _differences(f"{prefix}{name}.", ours, theirs)
        elif ours != theirs:
            yield f"{prefix}{name}", ours, theirs


def _decides(recipe: Recipe, path: str, value: Any, stage: Stage) -> bool:  # noqa: ANN401 - any setting
    """Whether the stage's fingerprint changes with this setting alone; true if that cannot be found out."""
    changed = _with_value(recipe, path.split("."), value)
    try:
        before, after = (stage_fingerprints(each, open_corpus(each.corpus)) for each in (recipe, changed))
    except (XnerError, OSError):
        return True
    return before[stage] != after[stage]


def _with_value(section: Any, names: list[str], value: Any) -> Any:  # noqa: ANN401 - a section and any setting
    name, *rest = names
    inner = _with_value(getattr(section, name), rest, value) if rest else value
    return section.model_copy(update={name: inner})


def _shown(value: Any) -> str:  # noqa: ANN401 - any setting
    """A setting as a recipe has it: `null`, a list in brackets."""
    plain = value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else value
    text = json.dumps(plain, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"
