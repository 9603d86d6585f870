"""URLs without what must never be stored or shown: user information and the query, which carry passwords and tokens."""

from __future__ import annotations

import re
from typing import Any

_URL = re.compile(
    r"(?:(?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]+:/|(?<![A-Za-z0-9:/])//(?=[^/\s]))"  # inside no word: linear time
    r"(?:/?(?:[^/?#@]{0,200}|[^/?#\s]*:(?!\d*(?:[/?#]|$))[^@]{0,200})@)?\S*"
)
"""An address in a text: up to white space, but for that in a password."""
_USER = re.compile(r"((?<=:/)/?|^//)(?:[^/?#]*|[^/?#]*?:(?!\d*(?:[/?#]|$)).*)@", flags=re.DOTALL)
"""All up to the last `@` before the path, and up to the last of all where a `:` begins something else than a port."""
_QUERY = re.compile(r"[?#].*", flags=re.DOTALL)  # fragments have tokens too


def without_secrets(address: str) -> str:
    """An address without user information and query, in each part of a chain such as `zip://a::https://host/b`.

    What is no URL stays as it is; `//user:password@host` is one.
    """
    if ":/" not in address and not address.startswith("//"):
        return address
    return "::".join(_QUERY.sub("", _USER.sub(r"\1", part)) for part in address.split("::"))


def text_without_secrets(text: str) -> str:
    """A text, every URL in it as `without_secrets` leaves it."""
    return _URL.sub(lambda found: without_secrets(found[0]), text)


def values_without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value, every text in it as `without_secrets` leaves it."""
    if isinstance(value, dict):
        return {key: values_without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [values_without_secrets(inner) for inner in value]
    return without_secrets(value) if isinstance(value, str) else value
