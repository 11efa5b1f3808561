"""The number of series is bounded by the deployment, never by its users or items."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry

from monitoring.metrics import Metrics
from tests.monitoring.prometheus_names import declared

# The most values each label can take, for the largest deployment that the budget is made for.
VALUES = {
    "partition": 64,  # topics.partitions
    "outcome": 6,  # of events: applied, duplicate, dead_letter, lost, standby, catching_up
    "reason": 13,  # codes in the source: of dead letters, evictions, snapshot failures, degradation
    "partitioner": 3,  # crc32, fnv1a, none
    "error": 8,  # classes of errors that ingest retries
    "arm": 4,
    "version": 4,  # models that the arms have run since the start
    "until": 1,  # one of each version
    "old_from": 1,
    "role": 3,
    "tier": 2,
    "source": 2,
    "level": 3,
    "program": 1,  # of Ray's that are measured: its control store
    "method": 6,  # methods of the service
    "code": 17,  # gRPC statuses
}
BUDGET = 2_500  # series of one process


def test_every_label_is_bounded_and_all_series_fit_the_budget() -> None:
    """A label without a bound (a user, an item,
    an address) fails here, and so do too many series.
    """
    metrics = Metrics(CollectorRegistry())
    labels_of = {name: labels for name, (_, labels) in declared().items()}
    for metric in vars(metrics).values():
        if labels := labels_of.get(getattr(metric, "_name", ""), ()):
            metric.labels(*labels)  # one child of each, to count its samples
    total = sum(
        math.prod(VALUES[label] for label in labels_of[family.name]) * len(family.samples)
        for family in metrics.registry.collect()
    )
    assert len(labels_of) == sum(bool(family.samples) for family in metrics.registry.collect())
    assert total <= BUDGET, f"{total} series are possible, the budget is {BUDGET}"
