"""Every metric of EchoRank, declared once.

Histogram edges stand around the service levels: 15 ms for a score, 100 ms from event to score. No
label ever holds a user or an item: the number of series is bounded by partitions, arms, methods and
codes.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.bulk_histogram import BulkHistogram

FOLD_EDGES = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.5,
    1.0,
)
SCORE_EDGES = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.1,
    0.25,
    1.0,
)
FRESHNESS_EDGES = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    15.0,
    60.0,
)
SNAPSHOT_EDGES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
CANDIDATE_EDGES = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics:
    """The metrics of one process, registered in `registry` under the prefix `echorank_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._declare_ingest()
        self._declare_fold()
        self._declare_durability()
        self._declare_archive()
        self._declare_serving()

    def _declare_ingest(self) -> None:
        counter = self._counter
        gauge = self._gauge
        self.events_total = counter(
            "events", "Events by what became of them.", "partition", "outcome"
        )
        self.ingest_lag_records = gauge(
            "ingest_lag_records", "High watermark less position.", "partition"
        )
        self.standby_lag_records = gauge(
            "standby_lag_records", "High watermark less standby's position.", "partition"
        )
        self.arm_lag_records = gauge(
            "arm_lag_records", "High watermark less arm's position.", "partition", "arm"
        )
        self.dlq_total = counter("dlq", "Records sent to the dead-letter topic.", "reason")
        self.misplaced_total = counter(
            "misplaced", "Records in a wrong partition, by who would do so.", "partitioner"
        )
        self.dlq_refused_total = counter(
            "dlq_refused", "Dead letters that their topic refused in any size.", "reason"
        )
        self.ingest_retries_total = counter(
            "ingest_retries", "Batches to be sent again, by error.", "error"
        )
        self.log_silence_seconds = gauge(
            "log_silence_seconds", "Since the log's end was last heard.", "partition"
        )
        self.log_held_back_records = gauge(
            "log_held_back_records", "Records behind open transactions.", "partition"
        )
        self.unread_partitions = gauge(
            "unread_partitions", "Partitions that the topic has beyond topics.partitions."
        )
        self.commit_failures_total = counter(
            "commit_failures", "Offset commits that failed; tried again."
        )

    def _declare_fold(self) -> None:
        counter = self._counter
        gauge = self._gauge
        histogram = self._histogram
        self.fold_seconds = histogram(
            "fold_seconds", "Time to fold one batch into one arm.", FOLD_EDGES
        )
        self.event_to_score_seconds = BulkHistogram(
            "echorank_event_to_score_seconds",
            "Record time to visible for scoring.",
            buckets=FRESHNESS_EDGES,
            registry=self.registry,
        )
        self.state_bytes = gauge("state_bytes", "Bytes of user states.", "arm", "tier")
        self.state_users = gauge("state_users", "Users with a state.", "arm", "tier")
        self.state_bytes_per_user = gauge(
            "state_bytes_per_user", "Bytes a user, index included.", "arm"
        )
        self.compression_error = gauge(
            "compression_error", "Of sampled states, against float32; NaN: none.", "arm"
        )
        self.cold_tier_full = gauge(
            "cold_tier_full", "Partitions whose disk takes no more users.", "arm"
        )
        self.evictions_total = counter("evictions", "States moved out of memory.", "reason")
        self.folded_total = counter(
            "folded", "Events folded into an arm, by owners and standbys.", "arm"
        )
        self.unknown_items_total = counter(
            "unknown_items", "Items outside the catalogue.", "arm", "source"
        )
        self.unknown_actions_total = counter(
            "unknown_actions", "Clicks the model has no action for.", "arm"
        )

    def _declare_durability(self) -> None:
        counter = self._counter
        gauge = self._gauge
        histogram = self._histogram
        self.snapshot_seconds = histogram(
            "snapshot_seconds", "Time to write one snapshot.", SNAPSHOT_EDGES
        )
        self.snapshot_age_seconds = gauge(
            "snapshot_age_seconds", "Time since the last snapshot.", "partition"
        )
        self.snapshot_failures_total = counter(
            "snapshot_failures", "Damaged or unwritable snapshots.", "reason"
        )
        self.snapshot_bytes = gauge(
            "snapshot_bytes", "Bytes of the newest complete snapshot.", "partition"
        )
        self.recovery_predicted_seconds = gauge(
            "recovery_predicted_seconds", "Restore and replay.", "partition"
        )
        self.restore_seconds = histogram(
            "restore_seconds", "Time to restore one partition.", SNAPSHOT_EDGES
        )

    def _declare_archive(self) -> None:
        counter = self._counter
        gauge = self._gauge
        self.archive_records_total = counter(
            "archive_records", "Clicks written to the archive.", "partition"
        )
        self.archive_lag_records = gauge(
            "archive_lag_records", "High watermark less archived end.", "partition"
        )
        self.archive_failures_total = counter(
            "archive_failures", "What kept clicks out of the archive.", "reason"
        )

    def _declare_serving(self) -> None:
        counter = self._counter
        gauge = self._gauge
        histogram = self._histogram
        # serving
        self.score_seconds = histogram(
            "score_seconds", "Time to score one request.", SCORE_EDGES, "arm", "level"
        )
        self.score_candidates = histogram(
            "score_candidates", "Candidates a request.", CANDIDATE_EDGES
        )
        self.requests_total = counter(
            "requests", "Requests by method and status code.", "method", "code"
        )
        self.degraded_total = counter(
            "degraded",
            "Answers of Score below the model's best level, and to cold users.",
            "reason",
        )
        self.second_asked_total = counter(
            "second_asked",
            "Questions put to a second shard as well, by what the first did.",
            "reason",
        )
        self.requests_in_flight = gauge("requests_in_flight", "Requests being served.")
        self.streams_open = gauge(
            "streams_open", "ScoreStream calls that are open, whether or not they ask."
        )
        # Ray
        self.ray_control_store_bytes = gauge(
            "ray_control_store_bytes",
            "Resident memory of Ray's control store, on its machine.",
            "program",
        )
        # arms
        self.exposures_total = counter(
            "exposures", "Answers in the exposure log: written, dropped.", "arm", "outcome"
        )
        self.arm_weight = gauge("arm_weight", "Share of the traffic, 0 to 1.", "arm")
        self.models_refused = gauge(
            "models_refused", "1 while a shard's bundles are not those that the system serves."
        )
        self.model_info = gauge(
            "model_info",
            "1 for the model version an arm runs, with the newest click that it learned from and "
            "the time from which what it calls popular is old, where it says these.",
            "arm",
            "version",
            "until",
            "old_from",
        )

    def of_others(self, *, behind: bool) -> Metrics:
        """Metrics for who feeds standbys, or arms `behind` the front:
        what it counts would be counted twice.

        So only the lag of standbys is shown; how far arms are, the shards show.
        """
        hidden = Metrics(CollectorRegistry())
        if not behind:
            hidden.ingest_lag_records = self.standby_lag_records
        return hidden

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"echorank_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"echorank_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, edges: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"echorank_{name}", text, labels, buckets=edges, registry=self.registry)
