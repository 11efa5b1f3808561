"""What a bundle costs: bytes a user, and processor time a question."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from model.arrays import Bytes
from model.bundle.bundle import Bundle
from training.measure.served import walk
from training.pilot.questions import Questions

CANDIDATES = (100, 500)
WARM = 20
TIMED = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one user and arm; times are processor time of score calls in this
    process, without network or queue.
    """

    state_bytes: int
    beside_bytes: int  # at most: index and book-keeping of the store
    latency_ms: dict[int, tuple[float, float]]  # candidates -> p50, p99

    @property
    def user_bytes(self) -> int:
        """What one user takes in memory, at most."""
        return self.state_bytes + self.beside_bytes

    def users_gib(self, users: int) -> float:
        """Memory of that many users."""
        return users * self.user_bytes / 2**30


def cost_of(bundle: Bundle, asked: Questions, *, beside_bytes: int, seed: int = 0) -> Cost:
    """Measure on the states that the questions find; the first calls,
    which compile and warm up, do not count.

    Processor time of all threads, because a pilot's machine is not this one's other load.
    """
    states = _states(bundle, asked)
    random = np.random.default_rng(seed)
    found = {}
    for candidates in CANDIDATES:
        items = random.integers(0, len(bundle.items), (WARM + TIMED, candidates))
        taken = []
        for turn, some in enumerate(items):
            row, now_ms = states[turn % len(states)]
            started = time.process_time_ns()
            bundle.score(row, some, now_ms)
            taken.append((time.process_time_ns() - started) / 1e6)
        p50, p99 = np.quantile(taken[WARM:], [0.5, 0.99])
        found[candidates] = float(p50), float(p99)
    return Cost(state_bytes=bundle.layout.row_bytes, beside_bytes=beside_bytes, latency_ms=found)


def _states(bundle: Bundle, asked: Questions) -> list[tuple[Bytes, int]]:
    some = asked.targets[:: max(1, len(asked.targets) // 50)]
    times_ms = asked.histories.times_ms
    return [
        (row.copy(), int(times_ms[target])) for target, row in walk(bundle, asked.histories, some)
    ]
