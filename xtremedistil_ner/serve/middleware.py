"""Middleware: each request is counted and logged before any route sees it, and refused if there are too many.

Refusal happens here because it must be cheap: at twice the load that the service can serve, most requests are refused,
and each refusal costs the others time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtremedistil_ner.serve.metrics import Metrics

LOG = logging.getLogger("xtremedistil_ner.serve")
RETRY_AFTER_S = 1
_FULL = json.dumps({"detail": "Too many requests at a time."}).encode()
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_FULL)).encode()),
    (b"retry-after", str(RETRY_AFTER_S).encode()),
]


class Watch:
    """Counts and logs requests by route, never by path and query, because these may have text of a client."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note the status of its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        start = time.monotonic()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            seconds = time.monotonic() - start
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            LOG.info("%s %d %.1f ms", route, status, 1000 * seconds)


class Admission:
    """Admits at most `most` requests of one path at a time; others get 503 at once, are counted, and are not logged.

    A request whose body has not arrived within `reading_s` is dropped for a new one, so that slow clients cannot block
    the service.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, path: str, most: int, reading_s: float) -> None:
        self.app = app
        self.path = path
        self.most = most
        self.in_flight = 0
        self.reading_s = reading_s
        self.reading: dict[asyncio.Timeout, float] = {}  # for each wait for a part of a body: when the request came
        self.gauge = metrics.in_flight
        self.refused = metrics.requests.labels(path, "503")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if there is room."""
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif self.in_flight >= self.most and not self._drop_slowest():
            self.refused.inc()
            await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _FULL})
        else:
            self.in_flight += 1
            self.gauge.set(self.in_flight)
            try:
                await self.app(scope, self._droppable(receive), send)
            finally:
                self.in_flight -= 1
                self.gauge.set(self.in_flight)

    def _droppable(self, receive: Receive) -> Receive:
        """A `receive` that raises TimeoutError if the request is dropped while its body arrives."""
        since, is_read = time.monotonic(), False

        async def receive_body() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            async with asyncio.timeout(None) as wait:
                self.reading[wait] = since
                try:
                    message = await receive()
                finally:
                    self.reading.pop(wait, None)
            is_read = not message.get("more_body", False)
            return message

        return receive_body

    def _drop_slowest(self) -> bool:
        """Drop the request whose body takes longest, if it takes more than `reading_s`; whether one was dropped."""
        wait, since = min(self.reading.items(), key=lambda item: item[1], default=(None, 0.0))
        if wait is None or time.monotonic() - since < self.reading_s:
            return False
        del self.reading[wait]
        wait.reschedule(asyncio.get_running_loop().time())
        return True
