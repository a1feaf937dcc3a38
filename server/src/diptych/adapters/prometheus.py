"""Metrics for Prometheus, in a registry of their own."""

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from diptych.core.ports import DISK_FULL, DISK_READ_ONLY, EncoderName, Reason, RolloutResult, Stage
from diptych.core.types import EXACT, DatabaseReport, IndexRecall, ModelInfo

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class PrometheusMetrics:
    """Satisfies `diptych.core.ports.Metrics`. Labels are route templates and fixed words, never user text."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "diptych_requests", "Answered requests", ["route", "code"], registry=registry
        )
        self._request_seconds = Histogram(
            "diptych_request_seconds",
            "Time to answer a request",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "diptych_stage_seconds", "Time in one stage", ["stage"], buckets=SECONDS, registry=registry
        )
        self._batch_size = Histogram(
            "diptych_batch_size", "Items in an encoder's batch", ["encoder"], buckets=SIZES, registry=registry
        )
        self._queue_items = Gauge(
            "diptych_queue_items", "Items that wait for an encoder", ["encoder"], registry=registry
        )
        self._rejected = Counter(
            "diptych_rejected", "Requests refused, and tries of jobs", ["reason"], registry=registry
        )
        for reason in (
            DISK_FULL,
            DISK_READ_ONLY,
        ):  # present at 0 from the start, so that an alert also sees the first one
            self._rejected.labels(reason)
        self._label_cache = Counter(
            "diptych_label_cache", "Labels looked up in the cache", ["result"], registry=registry
        )
        self._collection_images = Gauge(
            "diptych_collection_images", "Images in a collection", ["collection"], registry=registry
        )
        self._index_recall = Gauge(
            "diptych_index_recall",
            "Share of the exact nearest neighbours the index finds: 1 where it is exact, else as measured",
            ["collection"],
            registry=registry,
        )
        self._index_recall_by = Gauge(
            "diptych_index_recall_by",
            "The same by the kind of the queries that it is measured with: names, nouns, images",
            ["collection", "queries"],
            registry=registry,
        )
        self._model_info = Gauge(
            "diptych_model_info",
            "Always 1; the labels say what is served",
            ["name", "version", "precision", "provider"],
            registry=registry,
        )
        self._rollout_state = Gauge(
            "diptych_rollout_state",
            "1 for the version that is active",
            ["name", "version"],
            registry=registry,
        )
        self._rollout_images = Gauge(
            "diptych_rollout_images",
            "Images of the rollout under way: all that it embeds, and those that are embedded",
            ["state"],
            registry=registry,
        )
        self.set_rollout(0, 0)
        self._rollouts = Counter("diptych_rollouts", "Rollouts that ended", ["result"], registry=registry)
        for result in get_args(RolloutResult):  # present at 0, so that an alert also sees the first one
            self._rollouts.labels(result)
        self._rollback_lag = Gauge(
            "diptych_rollback_lag_images",
            "Images without a vector of the version that a rollback returns to",
            registry=registry,
        )
        self._ready = Gauge(
            "diptych_ready", "What /readyz says: 1 while requests should come here", registry=registry
        )
        self._database: _DatabaseMetrics | None = None
        ProcessCollector(
            registry=registry
        )  # memory, processor time, open files and start time, read at each scrape

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count one answered request; `route` is the template, never the path."""
        self._requests.labels(route, str(code)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def observe_stage(self, stage: Stage, seconds: float) -> None:
        """Record the time that one item or request spent in one stage."""
        self._stage_seconds.labels(stage).observe(seconds)

    def observe_batch(self, encoder: EncoderName, n_items: int) -> None:
        """Record the size of one batch that an encoder ran."""
        self._batch_size.labels(encoder).observe(n_items)

    def add_queue_items(self, encoder: EncoderName, n_more: int) -> None:
        """Add to the number of items that wait for an encoder now."""
        self._queue_items.labels(encoder).inc(n_more)

    def count_rejected(self, reason: Reason) -> None:
        """Count one refused request, or one refused try of a job."""
        self._rejected.labels(reason).inc()

    def count_label_cache(self, n_hits: int, n_misses: int) -> None:
        """Count labels that were looked up in the label cache."""
        self._label_cache.labels("hit").inc(n_hits)
        self._label_cache.labels("miss").inc(n_misses)

    def set_collection(self, collection: str, n_images: int | None, recall: IndexRecall = EXACT) -> None:
        """Set the size of one collection (None: it was dropped) and the recall of its index."""
        if n_images is None:
            self._collection_images.remove(collection)
            self._index_recall.remove(collection)
            for queries in vars(EXACT):
                self._index_recall_by.remove(collection, queries)
            return
        self._collection_images.labels(collection).set(n_images)
        self._index_recall.labels(collection).set(recall.lowest)
        for queries, share in vars(recall).items():
            self._index_recall_by.labels(collection, queries).set(share)

    def set_models(self, models: Sequence[ModelInfo]) -> None:
        """Replace the loaded models, one entry for each version and precision."""
        self._model_info.clear()
        for model in models:
            self._model_info.labels(model.name, str(model.version), model.precision, model.provider).set(1)

    def set_active(self, name: str, version: int) -> None:
        """Set the model that answers requests which name no collection."""
        self._rollout_state.clear()
        self._rollout_state.labels(name, str(version)).set(1)

    def set_rollout(self, n_images: int, n_embedded: int) -> None:
        """Set how many images the rollout under way has to embed, and has embedded."""
        self._rollout_images.labels("total").set(n_images)
        self._rollout_images.labels("embedded").set(n_embedded)

    def count_rollout(self, result: RolloutResult) -> None:
        """Count a rollout that has ended."""
        self._rollouts.labels(result).inc()

    def set_rollback_lag(self, n_images: int) -> None:
        """Set how many images have no vector of the version that a rollback returns to."""
        self._rollback_lag.set(n_images)

    def set_database(self, report: DatabaseReport) -> None:
        """Set the state of the database. Without one of its own, a server has none of these metrics."""
        if self._database is None:
            self._database = _DatabaseMetrics(self._registry)
        self._database.set(report)

    def set_ready(self, ready: bool) -> None:
        """Set whether this server is ready for requests."""
        self._ready.set(ready)

    def render(self) -> tuple[bytes, str]:
        """The metrics in the text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _DatabaseMetrics:
    """Metrics of a server whose rows are in PostgreSQL."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connections = Gauge(
            "diptych_database_connections",
            "Connections of this server to the database, and those that are in use",
            ["state"],
            registry=registry,
        )
        self._available = Gauge(
            "diptych_database_available", "1 while the database answers this server", registry=registry
        )
        self._outages = Counter(
            "diptych_database_outages", "Outages of the database that this server noticed", registry=registry
        )
        self._write = Gauge(
            "diptych_database_write", "Number of the last write that this server knows", registry=registry
        )
        self._behind = Gauge(
            "diptych_database_writes_behind", "Writes that this server does not know yet", registry=registry
        )
        self._servers = Gauge(
            "diptych_database_servers", "Servers that use the database now", registry=registry
        )
        self._n_outages = 0

    def set(self, report: DatabaseReport) -> None:
        """Set all of them; what is not known while the database is out of reach stays."""
        self._connections.labels("open").set(report.n_connections)
        self._connections.labels("in_use").set(report.n_connections_in_use)
        self._available.set(report.is_available)
        self._outages.inc(report.n_outages - self._n_outages)
        self._n_outages = report.n_outages
        self._write.set(report.write)
        if report.n_behind is not None:
            self._behind.set(report.n_behind)
        if report.n_servers is not None:
            self._servers.set(report.n_servers)
