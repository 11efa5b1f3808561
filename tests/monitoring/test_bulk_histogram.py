"""Observations by the array."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from monitoring.bulk_histogram import BulkHistogram


def test_bulk_observations_equal_single_ones() -> None:
    """A batch of observations is shown as the library's own histogram
    shows the same observations one by one, on the edges too.
    """
    edges = (0.1, 0.5, 1.0)
    values = [0.0, 0.1, 0.1000001, 0.5, 0.7, 1.0, 99.0]
    registries = CollectorRegistry(), CollectorRegistry()
    one = Histogram("h", "text", buckets=edges, registry=registries[0])
    many = BulkHistogram("h", "text", buckets=edges, registry=registries[1])

    def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
        drawn = (sample for metric in registry.collect() for sample in metric.samples)
        return {
            (s.name, s.labels.get("le", "")): s.value
            for s in drawn
            if not s.name.endswith("_created")
        }

    assert samples(registries[1]) == samples(registries[0])
    for value in values:
        one.observe(value)
    many.observe_many(np.array(values))
    many.observe_many(np.array([]))
    assert samples(registries[1]) == pytest.approx(samples(registries[0]))
    shown = [
        line for line in generate_latest(registries[0]).splitlines() if b"_created" not in line
    ]
    assert generate_latest(registries[1]).splitlines() == shown
