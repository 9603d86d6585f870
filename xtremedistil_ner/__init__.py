"""Distil large multilingual entity taggers into small, fast students.

The public names load when they are first used: `import xtremedistil_ner` costs milliseconds and loads neither
torch nor transformers, nor does tagging.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xtremedistil_ner.corpus.sentence import Sentence
    from xtremedistil_ner.labels import LabelScheme
    from xtremedistil_ner.recipe.reader import load_recipe
    from xtremedistil_ner.tagging.tagger import Tagger

    __version__: str

__all__ = ["LabelScheme", "Sentence", "Tagger", "__version__", "load_recipe"]

_HOMES = {
    "LabelScheme": "xtremedistil_ner.labels",
    "Sentence": "xtremedistil_ner.corpus.sentence",
    "Tagger": "xtremedistil_ner.tagging.tagger",
    "load_recipe": "xtremedistil_ner.recipe.reader",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any public name
    if name == "__version__":
        value: Any = _installed_version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("xtremedistil-ner")
    except PackageNotFoundError:  # a source tree on PYTHONPATH
        return "0+source"
