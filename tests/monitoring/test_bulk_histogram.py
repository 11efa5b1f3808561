"""Observations by the array."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.bulk_histogram import BulkHistogram


def test_bulk_observations_equal_single_ones() -> None:
    """A batch of observations changes a histogram as the same
    observations one by one, on the edges too.
    """
    edges = (0.1, 0.5, 1.0)
    values = [0.0, 0.1, 0.1000001, 0.5, 0.7, 1.0, 99.0]
    one, many = (BulkHistogram(name, "text", buckets=edges, registry=None) for name in ("h", "h"))
    for value in values:
        one.observe(value)
    many.observe_many(np.array(values))
    many.observe_many(np.array([]))

    def samples(histogram: BulkHistogram) -> dict[tuple[str, str], float]:
        drawn = (sample for metric in histogram.collect() for sample in metric.samples)
        return {
            (s.name, s.labels.get("le", "")): s.value
            for s in drawn
            if not s.name.endswith("_created")
        }

    assert samples(many) == pytest.approx(samples(one))
