"""What one client may ask of the service, and what all of them together may."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a request and of the queue.

    Units: `characters` are code points of a request's texts together, `waiting_characters` of all requests that wait;
    `requests` are in flight at a time; `timeout_s` is from a request's first byte to its answer.
    """

    body_bytes: int = 1_000_000
    texts: int = 128
    characters: int = 100_000
    requests: int = 64
    waiting_characters: int = 400_000
    timeout_s: float = 10.0


class RefusedError(Exception):
    """An answer other than 200: its status, what is wrong, and after how many seconds it may be better."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
