"""What happens to a request before any route sees it: it is counted and logged, and sent away if there are too many.

Sending away stands here because it must be cheap: under twice the load that the service can bear, most requests are
sent away, and what that costs is taken from the others.
"""

from __future__ import annotations

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
    """Counts and logs requests by route: a path or a query that nobody defined may have text in it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and look at its answer."""
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
    """Lets `most` requests of one path in at a time; others get 503 at once, are counted, and are not logged."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, path: str, most: int) -> None:
        self.app = app
        self.path = path
        self.most = most
        self.in_flight = 0
        self.gauge = metrics.in_flight
        self.refused = metrics.requests.labels(path, "503")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if there is room."""
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif self.in_flight >= self.most:
            self.refused.inc()
            await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _FULL})
        else:
            self.in_flight += 1
            self.gauge.set(self.in_flight)
            try:
                await self.app(scope, receive, send)
            finally:
                self.in_flight -= 1
                self.gauge.set(self.in_flight)
