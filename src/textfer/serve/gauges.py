"""What Prometheus asks: requests by route and status, their seconds, and what the engines have under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from textfer.serve.shelf import Shelf

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60)
NOW = {"waiting": "Requests that wait for their turn.", "running": "Requests that are worked on."}
SO_FAR = {
    "num_done": ("requests_done", "Requests that got their result."),
    "num_cancelled": ("requests_cancelled", "Requests that were given up."),
    "num_expired": ("requests_expired", "Requests that were not done in time."),
    "num_failed": ("requests_failed", "Requests that ended otherwise, refused ones among them."),
    "tokens_written": ("tokens_written", "Tokens written."),
    "seconds_busy": ("busy_seconds", "Seconds at work."),
}


@final
class Loads(Collector):
    """The engines' own counts, read when they are asked for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def collect(self) -> Iterator[Metric]:
        """One family of numbers for each count, labelled by model."""
        loads = [(one.name, one.engine.load) for one in self._shelf]
        for key, words in NOW.items():
            gauge = GaugeMetricFamily(f"textfer_engine_{key}", words, labels=["model"])
            for name, load in loads:
                gauge.add_metric([name], float(load.get(key, 0)))
            yield gauge
        for key, (called, words) in SO_FAR.items():
            counter = CounterMetricFamily(f"textfer_engine_{called}", words, labels=["model"])
            for name, load in loads:
                counter.add_metric([name], float(load.get(key, 0)))
            yield counter


@final
class Gauges:
    """A server's numbers."""

    def __init__(self, shelf: Shelf) -> None:
        self._registry = CollectorRegistry()
        labels = ["route", "status"]
        self._requests = Counter("textfer_http_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "textfer_http_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["route"],
            registry=self._registry,
            buckets=BUCKETS,
        )
        self._registry.register(Loads(shelf))
        ProcessCollector(registry=self._registry)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Takes note of one answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self._registry)
