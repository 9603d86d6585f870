"""The built-in demo corpus: 41 languages, synthetic, offline, 1.2 MB. `data/README.md` says how it is made."""

from __future__ import annotations

from pathlib import Path

from xtremedistil_ner.errors import ResourceError

_PACKAGE = Path(__file__).resolve().parent.parent
_PLACES = (_PACKAGE / "_data" / "demo", _PACKAGE.parent / "data" / "demo")  # in a wheel, in a checkout


def demo_path() -> Path:
    """Folder of the demo corpus: labelled splits by language, and `<lang>.txt.bz2`.

    Raises: ResourceError if the installation lacks it.
    """
    for place in _PLACES:
        if place.is_dir():
            return place
    raise ResourceError(f"{_PLACES[0]}: the demo corpus is missing. Install the package again.")
