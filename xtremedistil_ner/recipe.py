"""The recipe: one YAML file that says everything about one run, read strictly.

YAML 1.2 through ruamel.yaml, because PyYAML reads `no` (Norwegian) as `False`, `3e-4` as text, and accepts
repeated keys. All problems of a file are reported at once, each with its line and its path.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.schema import Recipe

_NO_KEYS = ("function-", "union-")
"""What pydantic puts between the keys of a problem's place: validators, and the form of `corpus.types`."""


def load_recipe(source: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe file `source` and apply overrides of the form `section.field=value`.

    Raises: RecipeError, listing every problem with its line.
    """
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe. Give a file, or a name that `xner recipes` lists.") from error
    except OSError as error:
        raise RecipeError(f"{path}: not a recipe file ({error.strerror}). Give a YAML file or a run folder.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}. Save the recipe as UTF-8.") from error
    return read_recipe(text, origin=str(path), overrides=overrides)


def read_recipe(text: str, *, origin: str = "<recipe>", overrides: Sequence[str] = ()) -> Recipe:
    """Parse the text of a recipe; `origin` names it in error messages.

    Raises: RecipeError, listing every problem with its line.
    """
    document = _parse(text, origin)
    try:
        plain = _plain(document)
    except RecursionError as error:
        raise RecipeError(f"{origin}: a value contains itself. Write it out.") from error
    if not isinstance(plain, dict):
        raise RecipeError(f"{origin}: a recipe is a mapping of sections, not {type(plain).__name__}.")
    problems: list[str] = []
    overridden = [_override(plain, override, problems) for override in overrides]
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        for detail in error.errors():
            problems.append(_describe(cast("dict[str, Any]", detail), document, origin, overridden))
    else:
        if not problems:
            return recipe
    raise RecipeError("\n".join(sorted(problems, key=_line_in)))


def format_recipe(recipe: Recipe) -> str:
    """Every field of a recipe, defaults included, as YAML that `read_recipe` reads back to an equal recipe."""
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = False  # U+0085 and its like would be read back as line ends
    writer.width = 2**20  # a folded string with a tab at the fold would lose it
    writer.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


def _parse(text: str, origin: str) -> Any:  # noqa: ANN401 - a YAML document can be anything
    try:
        return YAML(typ="rt", pure=True).load(text)
    except RecursionError as error:
        raise RecipeError(f"{origin}: nested too deeply. A recipe has three levels.") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        problem = (error.problem or "not YAML").splitlines()[0]
        raise RecipeError(f"{where}: {problem}.") from error
    except YAMLError as error:
        raise RecipeError(f"{origin}: not YAML: {error}") from error


def _plain(node: Any) -> Any:  # noqa: ANN401
    """Ruamel's round-trip containers and scalars as plain Python values."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _override(plain: dict[str, Any], override: str, problems: list[str]) -> str:
    """Set one value in place; its path, or nothing when the override itself is wrong."""
    path, equals, value = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        problems.append(f"--set {override}: write section.field=value.")
        return ""
    target = plain
    for key in keys[:-1]:
        nested = target.get(key)
        if nested is None:
            nested = target[key] = {}
        if not isinstance(nested, dict):
            problems.append(f"--set {override}: {key} is not a section.")
            return ""
        target = nested
    target[keys[-1]] = _plain(_parse(value, f"--set {path}"))
    return path


def _describe(detail: dict[str, Any], document: Any, origin: str, overridden: Sequence[str]) -> str:  # noqa: ANN401
    location = [part for part in detail["loc"] if not (isinstance(part, str) and part.startswith(_NO_KEYS))]
    path = ".".join(str(part) for part in location) or "recipe"
    is_unknown = detail["type"] == "extra_forbidden"
    set_here = any(f"{path}.".startswith(f"{changed}.") for changed in overridden if changed)
    set_inside = any(changed.startswith(f"{path}.") or not location for changed in overridden if changed)
    if set_here or (set_inside and (is_unknown or detail["type"] == "value_error")):
        where = "--set"
    else:
        line = _line_of(document, location)
        where = f"{origin}:{line}" if line else origin
    if is_unknown:
        known = list(_fields_at(location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
        return f"{where}: {path}: unknown key. {hint}"
    if detail["type"] == "missing":
        return f"{where}: {path}: missing. Add it."
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "tuple_type":
        message = "Input should be a list such as [a, b]"
    if not isinstance(detail["input"], dict):  # a whole section would bury the message
        message += f", got {detail['input']!r}"
    return f"{where}: {path}: {message}."


def _line_in(problem: str) -> int:
    found = re.match(r"[^\n]*?:(\d+):", problem)
    return int(found[1]) if found else 0


def _line_of(node: Any, location: Sequence[str | int]) -> int | None:  # noqa: ANN401
    line: int | None = None
    for part in location:
        marks = getattr(node, "lc", None)
        if marks is None or (isinstance(node, dict) and part not in node):
            break
        line = (marks.key(part) if isinstance(node, dict) else marks.item(part))[0] + 1
        node = node[part]
    return line


def _fields_at(location: Sequence[str | int]) -> Iterator[str]:
    section: Any = Recipe
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if section is None:
            return
    yield from section.model_fields
