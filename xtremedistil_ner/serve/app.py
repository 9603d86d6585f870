"""The routes of the service.

Bad input never gives a 5xx answer: a body is read up to its limit and checked before any other code sees it. 503 means
that the service is busy or about to stop, and `Retry-After` says when to try again. Logs and answers about problems
never repeat text of a client.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.requests import ClientDisconnect

from xtremedistil_ner import __version__
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.serve import PAGE
from xtremedistil_ner.serve.batching import MicroBatcher
from xtremedistil_ner.serve.limits import Limits, RefusedError
from xtremedistil_ner.serve.messages import Id, ModelInfo, Problem, TagRequest, TagResponse
from xtremedistil_ner.serve.metrics import CONTENT_TYPE, Metrics
from xtremedistil_ner.serve.middleware import RETRY_AFTER_S, Admission, Watch
from xtremedistil_ner.serve.reading import read_request
from xtremedistil_ner.tagging.entity_filter import EntityFilter
from xtremedistil_ner.tagging.export_reader import language_scores
from xtremedistil_ner.tagging.tagger import Entity, Tagger

TAG = "/v1/tag"
CLIENT_LEFT = 499  # nginx's status for it, for the metrics: no client reads it
_ENTITY_FIELDS = [field.name for field in fields(Entity)]
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
    413: {"model": Problem, "description": "More than one request may have."},
    415: {"model": Problem, "description": "Not `application/json`, or with a `Content-Encoding`."},
    422: {"model": Problem, "description": "Not a request: broken JSON, a missing key, a lone surrogate."},
    503: {"model": Problem, "description": "Too busy; `Retry-After` says when to try again."},
}


class Service:
    """A tagger with its queue, shared by the routes."""

    def __init__(self, tagger: Tagger, manifest: Mapping[str, Any], *, name: str, limits: Limits, workers: int) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.model = _describe(tagger, manifest, name, limits)
        self.is_draining = False
        self.batcher = MicroBatcher(tagger.tag, workers=workers, on_batch=self.metrics.batch_texts.observe)

    async def tag(self, request: Request) -> dict[str, Any]:
        """Answer one request of `POST /v1/tag`.

        Raises: RefusedError; ClientDisconnect if the client does not wait for the answer.
        """
        start = time.monotonic()
        body = await self._read_in_time(request, start)
        asked = read_request(body, self.limits)
        keep = self._filter(asked)
        self._require_room(asked)
        tagged = [keep.of_entities(entities) for entities in await self._tag_in_time(request, asked.texts, start)]
        self.metrics.texts.inc(len(asked.texts))
        self.metrics.characters.inc(sum(map(len, asked.texts)))
        for entity_type, count in Counter(entity.type for entities in tagged for entity in entities).items():
            self.metrics.entities.labels(entity_type).inc(count)
        names: Sequence[Id | None] = asked.ids or [None] * len(asked.texts)
        return {
            "results": [
                {"id": name, "entities": [{key: getattr(entity, key) for key in _ENTITY_FIELDS} for entity in entities]}
                for name, entities in zip(names, tagged, strict=True)
            ]
        }

    def _filter(self, asked: TagRequest) -> EntityFilter:
        keep = EntityFilter(asked.min_score, None if asked.types is None else tuple(asked.types))
        try:
            keep.require_known(self.model.types)
        except UsageError as error:  # its message repeats what the client sent
            raise RefusedError(422, f"types: name some of {', '.join(self.model.types)}.") from error
        return keep

    async def _read_in_time(self, request: Request, start: float) -> bytes:
        try:
            return await asyncio.wait_for(self._read_body(request), self._seconds_left(start))
        except TimeoutError:
            raise RefusedError(408, "The body took too long.") from None

    async def _read_body(self, request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise RefusedError(415, "The body is not `application/json`.")
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise RefusedError(415, "The body is compressed or encoded. Send it as it is, without `Content-Encoding`.")
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

    def _require_room(self, asked: TagRequest) -> None:
        waiting = self.batcher.waiting_characters
        if waiting and waiting + sum(map(len, asked.texts)) > self.limits.waiting_characters:
            raise RefusedError(503, "Too much text is waiting.", retry_after_s=RETRY_AFTER_S)

    async def _tag_in_time(self, request: Request, texts: Sequence[str], start: float) -> list[Sequence[Entity]]:
        tagging = asyncio.ensure_future(self.batcher.tag(texts))
        leaving = asyncio.ensure_future(_client_leaves(request))
        try:
            both = {tagging, leaving}
            await asyncio.wait(both, timeout=self._seconds_left(start), return_when=asyncio.FIRST_COMPLETED)
            if tagging.done():
                return tagging.result()
            if leaving.done():
                raise ClientDisconnect
            raise RefusedError(503, "It took too long; the service is busy.", retry_after_s=RETRY_AFTER_S)
        finally:
            tagging.cancel()
            leaving.cancel()

    def _seconds_left(self, start: float) -> float:
        return max(0.0, start + self.limits.timeout_s - time.monotonic())


async def _client_leaves(request: Request) -> None:
    """Return when the client closes the connection of a request whose body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(service: Service) -> FastAPI:
    """The application of a service; it ends the service's workers when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.is_draining = True
        service.batcher.close()

    app = FastAPI(title="xner", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Watch, metrics=service.metrics)
    most, reading_s = service.limits.requests, service.limits.reading_s
    app.add_middleware(Admission, metrics=service.metrics, path=TAG, most=most, reading_s=reading_s)

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> JSONResponse:
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return JSONResponse({"detail": error.detail}, error.status, headers)

    @app.exception_handler(ClientDisconnect)
    async def count_as_left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_LEFT)

    body = {"required": True, "content": {"application/json": {"schema": _request_schema(service.limits)}}}

    @app.post(TAG, response_model=TagResponse, responses=_PROBLEMS, openapi_extra={"requestBody": body})
    async def tag(request: Request) -> JSONResponse:
        """Find the names in texts."""
        return JSONResponse(await service.tag(request))

    @app.get("/v1/model")
    async def model() -> ModelInfo:
        """The model and its scores."""
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
