"""The recipe: one YAML file that says everything about one run, read strictly.

YAML 1.2 through ruamel.yaml, because PyYAML reads `no` (Norwegian) as `False` and `3e-4` as text, and accepts repeated
keys. Anchors, aliases and tags are refused, because a kilobyte of them can expand to gigabytes. All problems of a file
are reported at once, each with its line and its path.
"""

from __future__ import annotations

import difflib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import UnionType
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from xtremedistil_ner.addresses import text_without_secrets, values_without_secrets
from xtremedistil_ner.errors import RecipeError, first_line, quoted
from xtremedistil_ner.recipe.schema import Recipe

_NO_KEYS = ("function-", "union-")
"""Parts of a pydantic location that are not keys: validators, and the form of `corpus.types`."""
_MOST_BYTES = 32_000  # ten times the longest recipe of this package, and a second of work for the parser
_MOST_BRACKETS = 500  # nested ones take the parser quadratic time, 8 s for 32,000
_MOST_MESSAGE = 1800
_MOST_PROBLEMS = 50
_TAG = "tag:yaml.org,2002:"
_VALUES = tuple(_TAG + name for name in ("null", "bool", "int", "float"))
_TEXTS = tuple(_TAG + name for name in ("str", "timestamp", "value", "merge"))  # dates, `=` and `<<` of YAML 1.1


def load_recipe(source: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe file `source` and apply overrides of the form `section.field=value`.

    Raises: RecipeError, listing every problem with its line.
    """
    path = Path(source)
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        _require_size(len(data), str(path))
        text = data.decode("utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe. Give a file, or a name that `xner recipes` lists.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}. Save the recipe as UTF-8.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", error)
        raise RecipeError(f"{path}: not a recipe file ({reason}). Give a YAML file or a run folder.") from error
    return read_recipe(text, origin=str(path), overrides=overrides)


def read_recipe(text: str, *, origin: str = "<recipe>", overrides: Sequence[str] = ()) -> Recipe:
    """Parse the text of a recipe; `origin` names it in error messages.

    In `overrides`, the value of a text field is taken literally, but `null` clears a field that may be empty; values of
    other fields are YAML.

    Raises: RecipeError, listing every problem with its line.
    """
    document = _parse(text, origin)
    plain = _plain(document, origin)
    if not isinstance(plain, dict):
        found = "is empty" if plain is None else f"has a {type(plain).__name__}"
        raise RecipeError(f"{origin}: a recipe is a mapping of sections, and this one {found}.")
    problems: list[str] = []
    overridden = [_override(plain, override, problems) for override in overrides]
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        unlisted = max(0, error.error_count() - _MOST_PROBLEMS)
        for detail in error.errors()[:_MOST_PROBLEMS]:
            problems.append(_describe(cast("dict[str, Any]", detail), document, origin, overridden))
    else:
        unlisted = 0
        if not problems:
            return recipe
    raise RecipeError(_join(sorted(problems, key=_line_in), unlisted))


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Every field of a recipe as JSON values, as runs and reports store it: no URL has user information or a query."""
    values: dict[str, Any] = values_without_secrets(recipe.model_dump(mode="json"))
    return values


def format_recipe(recipe: Recipe) -> str:
    """The `recipe_values` as YAML, defaults included, that `read_recipe` reads back to an equal recipe."""
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = False  # U+0085 and its like would be read back as line ends
    writer.width = 2**20  # a folded string with a tab at the fold would lose it
    writer.dump(recipe_values(recipe), stream)
    return stream.getvalue()


def _require_size(size: int, origin: str) -> None:
    if size > _MOST_BYTES:
        raise RecipeError(f"{origin}: more than {_MOST_BYTES:,} bytes. A recipe is shorter.")


def _parse(text: str, origin: str) -> Node | None:
    _require_size(len(text), origin)
    try:
        if text.count("[") + text.count("{") > _MOST_BRACKETS:
            raise RecursionError
        with warnings.catch_warnings(action="ignore", category=ReusedAnchorWarning):  # any anchor is refused below
            node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except RecursionError as error:
        raise RecipeError(f"{origin}: nested too deeply, or too many brackets. A recipe has three levels.") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        problem = (error.problem or "not YAML").splitlines()[0][:200]
        raise RecipeError(f"{where}: {problem}.") from error
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"{origin}: not YAML: {first_line(error)[:200]}.") from error
    return node


def _plain(node: Node | None, origin: str) -> Any:  # noqa: ANN401 - a YAML document can be anything
    """The plain Python values of a document. Aliases need no check of their own: each needs an anchor."""
    if node is None:
        return None
    where = f"{origin}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    if node.anchor is not None:
        raise RecipeError(f"{where}: anchor {quoted(node.anchor)}. A recipe has no anchors and aliases: write it out.")
    if isinstance(node, ScalarNode) and node.tag in (*_VALUES, *_TEXTS):
        return node.value if node.tag in _TEXTS else _construct(node, where)
    if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
        return [_plain(value, origin) for value in node.value]
    if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
        return _plain_mapping(node, origin)
    raise RecipeError(f"{where}: tag {quoted(node.tag)}. A recipe has no tags: write the value alone.")


def _plain_mapping(node: MappingNode, origin: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in node.value:
        where = f"{origin}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, ScalarNode):
            raise RecipeError(f"{where}: a key is a word, not a list or a mapping.")
        if key.value in plain:
            raise RecipeError(f"{where}: duplicate key {quoted(key.value)}. Write it once.")
        plain[key.value] = _plain(value, origin)
    return plain


def _construct(node: ScalarNode, where: str) -> Any:  # noqa: ANN401
    if len(node.value) > 80:
        digits = sum(map(str.isalnum, node.value))
        raise RecipeError(f"{where}: {quoted(node.value)} has {digits:,} digits. Write a shorter number.")
    try:
        return YAML(typ="safe", pure=True).constructor.construct_object(node)
    except (ValueError, LookupError, ArithmeticError) as error:
        yaml_type = str(node.tag).removeprefix(_TAG)
        raise RecipeError(f"{where}: {quoted(node.value)} is no {yaml_type}. Write another value.") from error


def _override(plain: dict[str, Any], override: str, problems: list[str]) -> str:
    """Set one value, and return its path; an empty one if the override itself is wrong."""
    path, equals, value = override.partition("=")
    keys = path.split(".")
    shown = text_without_secrets(override)  # before it is cut
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    if not equals or not all(keys):
        problems.append(f"--set {shown}: write section.field=value.")
        return ""
    target = plain
    for key in keys[:-1]:
        nested = target.get(key)
        if nested is None:
            nested = target[key] = {}
        if not isinstance(nested, dict):
            problems.append(f"--set {shown}: {key[:80]} is not a section.")
            return ""
        target = nested
    types = _types_at(keys)
    if types and all(member in (str, type(None)) or get_origin(member) is Literal for member in types):
        target[keys[-1]] = None if value == "null" and type(None) in types else value
    else:
        origin = f"--set {path[:80]}"
        target[keys[-1]] = _plain(_parse(value, origin), origin)
    return path


def _describe(detail: dict[str, Any], document: Node | None, origin: str, overridden: Sequence[str]) -> str:
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
    if len(path) > 80:
        path = f"{path[:80]}…"
    if is_unknown:
        known = list(_fields_at(location[:-1]))
        close = difflib.get_close_matches(str(location[-1])[:80], known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
        return f"{where}: {path}: unknown key. {hint}"
    if detail["type"] == "missing":
        return f"{where}: {path}: missing. Add it."
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "tuple_type":
        message = "Input should be a list such as [a, b]"
    if detail["type"] == "string_too_short":
        message = "give a value, or leave it out"
    if not isinstance(detail["input"], dict):  # a whole section would bury the message
        message += f", got {quoted(detail['input'])}"
    return f"{where}: {path}: {message}."


def _join(problems: Sequence[str], unlisted: int) -> str:
    """The first problems, one a line, up to the length of a message, and the number of others with those `unlisted`."""
    ends = list(accumulate(len(problem) + 1 for problem in problems))
    shown = max(1, sum(end <= _MOST_MESSAGE for end in ends))
    more = len(problems) - shown + unlisted
    rest = [f"and {more} more problems."] if more else []
    return "\n".join([*problems[:shown], *rest])


def _line_in(problem: str) -> int:
    match = re.match(r"[^\n]*?:(\d+):", problem)
    return int(match[1]) if match else 0


def _line_of(node: Node | None, location: Sequence[str | int]) -> int | None:
    """The line of a key or of an item; if it is missing, that of the innermost section or list around it."""
    line: int | None = None
    for part in location:
        entry = None
        if isinstance(node, MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, SequenceNode) and isinstance(part, int):
            entry = (node.value[part], node.value[part])
        if entry is None:
            break
        line, node = entry[0].start_mark.line + 1, entry[1]
    return line


def _fields_at(location: Sequence[str | int]) -> Iterator[str]:
    for section in _types_at(location):
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from section.model_fields


def _types_at(location: Sequence[str | int]) -> tuple[Any, ...]:
    """The type at a location of a recipe, or the members of a union; empty if there is no such field."""
    types: tuple[Any, ...] = (Recipe,)
    for part in location:
        inner = next((inner for outer in types if (inner := _type_inside(outer, part)) is not None), None)
        types = get_args(inner) if get_origin(inner) is UnionType else (inner,) if inner is not None else ()
    return types


def _type_inside(outer: Any, part: str | int) -> Any:  # noqa: ANN401 - a type of any form
    """The type of a field, of the values of a dictionary, or of the items of a tuple."""
    if isinstance(outer, type) and issubclass(outer, BaseModel):
        return outer.model_fields[part].annotation if part in outer.model_fields else None
    return get_args(outer)[-1 if get_origin(outer) is dict else 0] if get_origin(outer) in (dict, tuple) else None
