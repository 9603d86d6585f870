"""What one client may ask of the service, and what all of them together may."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a request and of the queue.

    Units: `characters` are code points of a request's texts together, `waiting_characters` of all requests that wait;
    `requests` are in flight at a time; `timeout_s` is for the headers to arrive, then for the body and the answer, and
    for the client to take it; a body that takes longer than `reading_s` loses its place where all are taken.
    `head_bytes` and `head_fields` are of a request's address and headers.
    """

    body_bytes: int = 1_000_000
    texts: int = 128
    characters: int = 100_000
    requests: int = 64
    waiting_characters: int = 400_000
    timeout_s: float = 10.0
    reading_s: float = 1.0
    connections: int = 512  # below the 1,024 open files that a process may commonly have
    head_bytes: int = 65_536
    head_fields: int = 100


class RefusedError(Exception):
    """An answer other than 200: its status, what is wrong, and after how many seconds it may be better."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
