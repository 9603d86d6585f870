"""Metrics of the service, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one service; their names begin with `xner_`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("xner_requests", "Answered requests.", ("route", "status"), registry=self._registry)
        self.seconds = Histogram(
            "xner_request_seconds", "From request to answer.", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self.in_flight = Gauge("xner_requests_in_flight", "Tagging requests that wait.", registry=self._registry)
        self.batch_texts = Histogram(
            "xner_batch_texts", "Texts that were tagged together.", buckets=_TEXTS, registry=self._registry
        )
        self.texts = Counter("xner_texts", "Tagged texts.", registry=self._registry)
        self.characters = Counter("xner_characters", "Characters of tagged texts.", registry=self._registry)
        self.entities = Counter("xner_entities", "Entities found.", ("type",), registry=self._registry)

    def format(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
