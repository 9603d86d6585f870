"""The service as a process: it loads an export, listens, and finishes its requests before it stops."""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from pathlib import Path

import uvicorn

from xtremedistil_ner.errors import Interrupted, ResourceError
from xtremedistil_ner.serve.app import Service, create_app
from xtremedistil_ner.serve.limits import Limits
from xtremedistil_ner.serve.protocol import BoundedProtocol
from xtremedistil_ner.tagging.export_reader import GraphPrecision, choose_graph, find_export, verify_export
from xtremedistil_ner.tagging.tagger import Tagger


class _Server(uvicorn.Server):
    """Announces at once that it is stopping, answers the requests that it has, and accepts no new ones."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: object) -> None:
        self._service.is_draining = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def serve_export(
    export: Path, *, host: str, port: int, workers: int, precision: GraphPrecision | None, limits: Limits
) -> None:
    """Serve until SIGTERM or SIGINT; requests that are then in progress are answered.

    Raises: ModelError for a folder that differs from its export; ResourceError if the address is in use.
    """
    export = find_export(export)
    manifest = verify_export(export)
    tagger = Tagger.from_graph(choose_graph(export, manifest, precision), export)
    service = Service(tagger, manifest, name=export.resolve().name, limits=limits, workers=workers)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    server = make_server(service, host=host, port=port)
    with contextlib.suppress(Interrupted, KeyboardInterrupt):  # uvicorn repeats the signal after the last answer
        try:
            server.run()
        except SystemExit as error:
            raise ResourceError(f"{host}:{port}: cannot listen there. Give another --host or --port.") from error


def make_server(service: Service, *, host: str, port: int) -> uvicorn.Server:
    """The server of a service, not yet running."""
    limits = service.limits
    config = uvicorn.Config(
        create_app(service),
        host=host,
        port=port,
        http=partial(BoundedProtocol, limits=limits, metrics=service.metrics),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(limits.timeout_s)),
    )
    return _Server(config, service)
