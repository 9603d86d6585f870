"""URLs without user information and query, which may have passwords and tokens and are never stored or shown."""

from __future__ import annotations

import re
from typing import Any

_URL = re.compile(
    r"(?:(?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]+:/|(?<![A-Za-z0-9:/])//(?=[^/\s]))"  # not inside a word: linear time
    r"(?:/?(?:[^/?#@]{0,200}|[^/?#\s]*:(?!\d*(?:[/?#]|$))[^@]{0,200})@)?\S*"
)
"""An address in a text, which ends at white space outside its password."""
_USER = re.compile(r"((?<=:/)/?|^//)(?:[^/?#]*|[^/?#]*?:(?!\d*(?:[/?#]|$)).*)@", flags=re.DOTALL)
"""Everything up to the last `@` before the path; if a `:` does not begin a port, up to the last `@` of the address."""
_QUERY = re.compile(r"[?#].*", flags=re.DOTALL)  # fragments may have tokens too


def without_secrets(address: str) -> str:
    """An address without user information and query, in each part of a chain such as `zip://a::https://host/b`.

    Text that is not a URL is returned unchanged; `//user:password@host` counts as a URL.
    """
    if ":/" not in address and not address.startswith("//"):
        return address
    return "::".join(_QUERY.sub("", _USER.sub(r"\1", part)) for part in address.split("::"))


def text_without_secrets(text: str) -> str:
    """A text with `without_secrets` applied to every URL in it."""
    return _URL.sub(lambda match: without_secrets(match[0]), text)


def values_without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value with `without_secrets` applied to every text in it."""
    if isinstance(value, dict):
        return {key: values_without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [values_without_secrets(inner) for inner in value]
    return without_secrets(value) if isinstance(value, str) else value
