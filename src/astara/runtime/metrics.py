"""Prometheus metrics of the orchestrator. Label values come from closed sets, never from ids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import start_http_server

from astara.model.errors import BadConfiguration

_log = structlog.get_logger(__name__)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class OrchestratorMetrics:
    """Implements the metrics of reconcile, intake and pool on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = self._counter("astara_events_total", "Notifications that named something", "type")
        self._event_keys = self._counter("astara_event_resources_total", "Resources that notifications named")
        self._heard = self._counter(
            "astara_notifications_total", "Notifications received, by feed and type", "feed", "type"
        )
        self._reconciles = self._histogram(
            "astara_reconcile_seconds",
            "Reconciles, by what they found and how they ended",
            "driver",
            "phase",
            "outcome",
        )
        self._steps = self._histogram("astara_step_seconds", "Steps carried out", "step", "outcome")
        self._calls = self._histogram("astara_merged_call_seconds", "Remote calls that served several requests", "api")
        self._batches = self._counter("astara_merged_call_requests_total", "Requests served by merged calls", "api")
        self._resyncs = self._histogram("astara_resync_seconds", "Background looks", "kind")
        self._queued = self._counter("astara_resync_queued_total", "Resources queued by background looks", "kind")
        self._crashes = self._counter("astara_crashes_total", "Exceptions nobody foresaw, logged", "thread")
        self._pool_requests = self._counter(
            "astara_pool_requests_total", "Instances asked of a pool, by whether a spare was there", "kind", "outcome"
        )
        self._pool_refills = self._histogram(
            "astara_pool_refill_seconds", "Spares made, from the wish to their first answer", "kind"
        )
        self._neutron = self._histogram("astara_neutron_call_seconds", "Calls to Neutron", "call", "outcome")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=_SECONDS, registry=self.registry)

    def heard(self, feed: str, kind: str) -> None:
        """Count one notification as it came in; `kind` is a known event type or "unknown"."""
        self._heard.labels(feed, kind).inc()

    def event(self, kind: str, keys: int) -> None:
        """Count one event handed to the engine, and the resources it named."""
        self._events.labels(kind).inc()
        self._event_keys.inc(keys)

    def reconciled(self, driver: str, phase: str, outcome: str, duration_s: float) -> None:
        """Count one reconcile."""
        self._reconciles.labels(driver, phase, outcome).observe(duration_s)

    def step(self, kind: str, outcome: str, duration_s: float) -> None:
        """Count one step."""
        self._steps.labels(kind, outcome).observe(duration_s)

    def call(self, api: str, batch: int, duration_s: float) -> None:
        """Count one merged remote call."""
        self._calls.labels(api).observe(duration_s)
        self._batches.labels(api).inc(batch)

    def resynced(self, kind: str, resources: int, queued: int, duration_s: float) -> None:
        """Count one background look."""
        self._resyncs.labels(kind).observe(duration_s)
        self._queued.labels(kind).inc(queued)

    def pool_request(self, kind: str, outcome: str) -> None:
        """Count one instance asked of a pool."""
        self._pool_requests.labels(kind, outcome).inc()

    def pool_refill(self, kind: str, duration_s: float) -> None:
        """Count one spare that became ready."""
        self._pool_refills.labels(kind).observe(duration_s)

    def crashed(self, thread: str) -> None:
        """Count one exception that a thread survived."""
        self._crashes.labels(thread).inc()

    def neutron_call(self, kind: str, outcome: str, duration_s: float) -> None:
        """Count one call to Neutron; the observer of clients.neutron."""
        self._neutron.labels(kind, outcome).observe(duration_s)

    def observe_state(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Ask `read` for gauges at every scrape."""
        self.registry.register(_StateCollector(read))


class _StateCollector:
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return self._read()


def gauge(name: str, text: str, values: dict[tuple[str, ...], float], *labels: str) -> Metric:
    """Return one gauge with a sample per label tuple."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


class MetricsServer:
    """Serves /metrics until `stop`."""

    def __init__(self, metrics: OrchestratorMetrics, listen: tuple[str, int]) -> None:
        self._metrics = metrics
        self._listen = listen
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; raises BadConfiguration when the address cannot be bound."""
        host, port = self._listen
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=self._metrics.registry)
        except OSError as error:
            raise BadConfiguration(
                f"[metrics] listen={host}:{port} cannot be bound: {error.strerror}",
                "choose a free port, or leave it empty for no metrics",
            ) from None
        _log.info("metrics.listening", host=host, port=port)

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None
