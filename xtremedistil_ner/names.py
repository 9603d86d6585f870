"""Names from outside, checked here before they become a path or a line of a report.

A language code of a corpus becomes the name of a shard and of a folder, an entity type a part of tags and tables, a
file name of a manifest a path. Every reader refuses a language that is not a plain code, and a type that is not a
printable word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from xtremedistil_ner.errors import CorpusError, quoted

LANGUAGE_PATTERN = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?"
"""Wider than BCP 47, so that it admits `zh_classical` and `bat-smg`; a valid file name on every system."""
LANGUAGE_RULE = "A language code has 1 to 64 letters of a to z, digits, - and _, such as en, zh-Hans or bat-smg"
TYPE_RULE = "An entity type is a printable word of at most 100 characters without white space, such as LOC"
_LANGUAGE = re.compile(LANGUAGE_PATTERN)
_MOST_TYPE_CHARACTERS = 100
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*[]|~"}}
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word does not begin emphasis


def is_language(code: object) -> bool:
    """Whether something is a language code."""
    return isinstance(code, str) and _LANGUAGE.fullmatch(code) is not None


def admit_language(code: object, where: object) -> str:
    """A language code as a file or folder gives it; `where` is its location for the message.

    Raises: CorpusError for anything that is not a language code.
    """
    if not isinstance(code, str) or not is_language(code):
        raise CorpusError(f"{where}: the language is {quoted(code)}. {LANGUAGE_RULE}.")
    return code


def require_distinct(codes: Iterable[str], where: object) -> None:
    """Raises: CorpusError for language codes that differ in case alone, because many disks give them one file."""
    seen: dict[str, str] = {}
    for code in sorted(set(codes)):
        other = seen.setdefault(code.casefold(), code)
        if other != code:
            raise CorpusError(f"{where}: languages {other} and {code} differ in case alone. Write one code.")


def is_type(name: str) -> bool:
    """Whether a text may be an entity type."""
    return 0 < len(name) <= _MOST_TYPE_CHARACTERS and name.isprintable() and " " not in name


def is_inside(name: object) -> bool:
    """Whether a file name of a manifest is a path inside its folder, written in the one usual way."""
    if not isinstance(name, str) or name in ("", ".") or set("\\\0:") & set(name):
        return False
    path = PurePosixPath(name)
    return path.as_posix() == name and not path.is_absolute() and ".." not in path.parts


def escape_markdown(text: str) -> str:
    """A text escaped so that Markdown, and HTML inside it, show it unchanged on one line."""
    escaped = "".join(_MARKDOWN.get(character, character) for character in " ".join(text.split()))
    return _EMPHASIS.sub(r"\\_", escaped)
