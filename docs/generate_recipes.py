"""Write `docs/recipes.md` from the recipe schema: `python docs/generate_recipes.py`. A test holds the two equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from xtremedistil_ner.recipe.schema import Recipe

TARGET = Path(__file__).parent / "recipes.md"
HEAD = """# Recipes

One YAML file says everything about one run. `xner recipes` lists the ones that come with the package; a file of your
own needs a `name`, a `teacher`, and what differs from the defaults below. Any field can be set from the command line:
`--set train.learning_rate=3e-4`. A text is taken as it stands, and `null` clears it; every other value is YAML. The
reader is strict: anchors, tags, unknown keys, repeated keys and wrong types are errors, all reported at once with their
lines, and `no` is Norwegian. A setting that a run would not read, such as `student.hidden_width` of a transformer, is
an error too, before anything runs.

Generated from the schema by `python docs/generate_recipes.py`.
"""


def format_schema() -> str:
    """The page: one table per section, in the schema's order."""
    return HEAD + "".join(_sections(Recipe, ""))


def _sections(model: type[BaseModel], path: str) -> list[str]:
    own = {name: field for name, field in model.model_fields.items() if _section_of(field) is None}
    rows = [
        f"| `{name}` | {_format_type(field)} | {_format_default(field)} | {field.description or ''} |\n"
        for name, field in own.items()
    ]
    title = f"\n## `{path}`\n\n{(model.__doc__ or '').strip()}\n" if path else "\n## Top level\n"
    parts = [f"{title}\n| field | type | default | meaning |\n|---|---|---|---|\n{''.join(rows)}"]
    for name, field in model.model_fields.items():
        nested = _section_of(field)
        if nested is not None:
            parts += _sections(nested, f"{path}.{name}".lstrip("."))
    return parts


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kinds: list[Any] = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _format_type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    text = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    text = text.replace("typing.Literal", "one of ").replace("NoneType", "None").replace("|", "or")
    if "union-mapping" in text:
        return "list of names, or mapping"
    if text.startswith("tuple"):
        return "list of numbers" if "int" in text else "list of names"
    return text


def _format_default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default in ((), {}):
        return "–"
    return f"`{list(field.default) if isinstance(field.default, tuple) else field.default}`"


if __name__ == "__main__":
    TARGET.write_text(format_schema(), encoding="utf-8")
