"""The routes of the service.

Bad input never ends in a 5xx: a body is read up to its limit and checked by hand before anything sees it. 503 says
that the service has enough to do, or is about to stop, and when to come again. No text of a client stands in an
answer about a problem or in a log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse

from xtremedistil_ner import __version__
from xtremedistil_ner.exported import language_scores
from xtremedistil_ner.serve import PAGE
from xtremedistil_ner.serve.batching import MicroBatcher
from xtremedistil_ner.serve.limits import Limits, RefusedError
from xtremedistil_ner.serve.messages import Id, ModelInfo, Problem, TagRequest, TagResponse, read_request
from xtremedistil_ner.serve.metrics import CONTENT_TYPE, Metrics
from xtremedistil_ner.serve.middleware import RETRY_AFTER_S, Admission, Watch
from xtremedistil_ner.tagger import Tagger

T = TypeVar("T")
TAG = "/v1/tag"
_PAGE_FILES = {"/": "index.html"} | {
    f"/{name}": name for name in ("page.css", "page.js", "files.js", "tagging.js", "examples.json")
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    408: {"model": Problem, "description": "The body took too long to arrive."},
    413: {"model": Problem, "description": "More than one request may hold."},
    415: {"model": Problem, "description": "Not `application/json`."},
    422: {"model": Problem, "description": "Not a request: broken JSON, a missing key, a lone surrogate."},
    503: {"model": Problem, "description": "Too busy; `Retry-After` says when to come again."},
}


class Service:
    """A tagger with its queue: what the routes share."""

    def __init__(self, tagger: Tagger, manifest: Mapping[str, Any], *, name: str, limits: Limits, workers: int) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.model = _describe(tagger, manifest, name, limits)
        self.is_draining = False
        self.batcher = MicroBatcher(tagger.tag, workers=workers, on_batch=self.metrics.batch_texts.observe)

    async def tag(self, request: Request) -> dict[str, Any]:
        """Answer one request of `POST /v1/tag`.

        Raises: RefusedError.
        """
        start = time.monotonic()
        body = await self._within(self._read_body(request), start, RefusedError(408, "The body took too long."))
        asked = read_request(body, self.limits)
        self._demand_room(asked)
        late = RefusedError(503, "It took too long; the service is busy.", retry_after_s=RETRY_AFTER_S)
        found = await self._within(self.batcher.tag(asked.texts), start, late)
        self.metrics.texts.inc(len(asked.texts))
        self.metrics.characters.inc(sum(map(len, asked.texts)))
        results = []
        names: Sequence[Id | None] = asked.ids or [None] * len(asked.texts)
        for name, entities in zip(names, found, strict=True):
            for entity in entities:
                self.metrics.entities.labels(entity.type).inc()
            results.append({"id": name, "entities": [asdict(entity) for entity in entities]})
        return {"results": results}

    async def _read_body(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(415, "The body is not `application/json`.")
        too_long = RefusedError(413, f"The body has more than {self.limits.body_bytes} bytes. Send several requests.")
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self.limits.body_bytes:
            raise too_long
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.limits.body_bytes:
                raise too_long
        return bytes(body)

    def _demand_room(self, asked: TagRequest) -> None:
        waiting = self.batcher.waiting_characters
        if waiting and waiting + sum(map(len, asked.texts)) > self.limits.waiting_characters:
            raise RefusedError(503, "Too much text is waiting.", retry_after_s=RETRY_AFTER_S)

    async def _within(self, work: Awaitable[T], start: float, late: RefusedError) -> T:
        """The result of `work`, if it is there before the request's time is up."""
        try:
            return await asyncio.wait_for(work, max(0.0, start + self.limits.timeout_s - time.monotonic()))
        except TimeoutError:
            raise late from None


def create_app(service: Service) -> FastAPI:
    """The application over a service; it ends the service's workers when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.is_draining = True
        service.batcher.close()

    app = FastAPI(title="xner", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Watch, metrics=service.metrics)
    app.add_middleware(Admission, metrics=service.metrics, path=TAG, most=service.limits.requests)

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> JSONResponse:
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return JSONResponse({"detail": error.detail}, error.status, headers)

    body = {"required": True, "content": {"application/json": {"schema": _request_schema(service.limits)}}}

    @app.post(TAG, response_model=TagResponse, responses=_PROBLEMS, openapi_extra={"requestBody": body})
    async def tag(request: Request) -> JSONResponse:
        """Find the names in texts."""
        return JSONResponse(await service.tag(request))

    @app.get("/v1/model")
    async def model() -> ModelInfo:
        """What the model is and how well it was scored."""
        return service.model

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the process lives."""
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"content": {"text/plain": {}}}})
    async def readyz() -> PlainTextResponse:
        """Whether requests should be sent here."""
        return PlainTextResponse("stopping", 503) if service.is_draining else PlainTextResponse("ready")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.format(), media_type=CONTENT_TYPE)

    for route, name in _PAGE_FILES.items():
        app.get(route, include_in_schema=False)(_page_file(name))
    return app


def _request_schema(limits: Limits) -> dict[str, Any]:
    schema = TagRequest.model_json_schema()
    schema["properties"]["texts"]["maxItems"] = limits.texts
    return schema


def _page_file(name: str) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(PAGE / name, headers=_HEADERS)

    return send


def _describe(tagger: Tagger, manifest: Mapping[str, Any], name: str, limits: Limits) -> ModelInfo:
    scores = manifest["scores"]
    return ModelInfo.model_validate(
        {
            "name": name,
            "types": list(tagger.scheme.types),
            "synthetic": bool(scores and scores["synthetic"]),
            "languages": language_scores(scores),
            "limits": {field: getattr(limits, field) for field in ("body_bytes", "texts", "characters")},
        }
    )
