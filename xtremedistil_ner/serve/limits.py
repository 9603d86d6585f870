"""Limits of one request to the service, and of all requests together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a request and of the queue.

    Units: `characters` counts the code points of all texts of a request, `waiting_characters` those of all waiting
    requests; `requests` is the number in progress at a time. `timeout_s` is the time for the headers to arrive, then
    for the body and the answer, then for the client to receive it. If too many requests are in progress, one whose body
    takes longer than `reading_s` is dropped for a new one. `head_bytes` and `head_fields` limit address and headers.
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
    """An answer other than 200: its status, the problem, and after how many seconds the client may try again."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
