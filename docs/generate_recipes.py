"""Write `docs/recipes.md` from the recipe schema: `python docs/generate_recipes.py`. A test compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from xtremedistil_ner.recipe.schema import Recipe

TARGET = Path(__file__).parent / "recipes.md"
HEAD = """# Recipes

A recipe is one YAML file that describes a whole run. `xner recipes` lists the recipes that come with the package, and
`xner init DIR --corpus PATH` writes a commented one for a corpus of yours. Your own recipe needs a `name`, a `teacher`,
and every field whose default does not suit you.

* **Command line.** You can set any field: `--set train.learning_rate=3e-4`. The value of a text field is used
  literally, and `null` clears it. Every other value is YAML.
* **Errors.** Anchors, tags, unknown keys, repeated keys and wrong types are errors. All errors are reported at once,
  with their lines. The code `no` is Norwegian, not false.
* **Unused settings.** A setting that the run would not read, such as `student.hidden_width` of a transformer, is an
  error too, before anything runs.

Generated from the schema by `python docs/generate_recipes.py`.
"""


def format_schema() -> str:
    """The page: one table per section, in the schema's order."""
    return HEAD + "".join(_sections(Recipe, ""))


def _sections(model: type[BaseModel], path: str) -> list[str]:
    plain = {name: field for name, field in model.model_fields.items() if _section_of(field) is None}
    rows = [
        f"| `{name}` | {_format_type(field)} | {_format_default(field)} | {field.description or ''} |\n"
        for name, field in plain.items()
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
    if get_origin(annotation) is Literal:
        return " ".join(f"`{value}`" for value in get_args(annotation))
    text = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    if "union-mapping" in text:
        return "list or mapping"
    if text.startswith("tuple"):
        return "list of numbers" if text.startswith("tuple[int") else "list of names"
    if text.startswith("dict"):
        return "mapping"
    return text.replace("NoneType", "None").replace("|", "or")


def _format_default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default in ((), {}):
        return "–"
    return f"`{list(field.default) if isinstance(field.default, tuple) else field.default}`"


if __name__ == "__main__":
    TARGET.write_text(format_schema(), encoding="utf-8")
