"""A histogram that takes whole arrays of observations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from prometheus_client import Histogram


class BulkHistogram(Histogram):
    """A Histogram whose cost is a batch's, not an event's.

    `observe` takes about 1 µs and the GIL each, a tenth of a core at 100,000 events/s. Here numpy
    counts the values of each bucket and the library's own counters are raised once a bucket; every
    value counts, none is sampled.
    """

    def observe_many(self, values: npt.NDArray[np.float64]) -> None:
        """Observe each value, (n,); the same as n times `observe`."""
        # the first bound that is not below the value
        at = np.searchsorted(self._upper_bounds, values)
        for bucket, count in enumerate(np.bincount(at, minlength=len(self._upper_bounds))):
            if count:
                self._buckets[bucket].inc(int(count))
        self._sum.inc(float(values.sum()))
