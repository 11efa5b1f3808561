from __future__ import annotations

import pytest

from actors.calls.deadline import FULL, PRIOR, SEQUENCE, Deadline, Pace
from actors.clock import ManualClock
from actors.errors import DeadlineExceeded


class FakeCall:
    """A call with so many seconds left."""

    def __init__(self, left_s: float | None) -> None:
        self.left_s = left_s

    def time_remaining(self) -> float | None:
        return self.left_s


@pytest.mark.parametrize("left_s", [None, 1e10])
def test_a_missing_deadline_is_the_default_one(left_s: float | None) -> None:
    """gRPC reports a missing deadline as None or as centuries; both become the default."""
    clock = ManualClock()
    assert Deadline.of(FakeCall(left_s), 1.5, clock.monotonic).left_s() == 1.5


def test_a_deadline_runs_out() -> None:
    """Waiting ends a tenth before the deadline,
    and afterwards the error says by how much it was missed.
    """
    clock = ManualClock()
    deadline = Deadline.of(FakeCall(0.1), 1.5, clock.monotonic)
    assert deadline.wait_s() == pytest.approx(0.09)
    clock.advance(0.3)
    assert deadline.wait_s() == 0
    with pytest.raises(
        DeadlineExceeded, match=r"passed 200.0 ms ago, before scoring; allow more time"
    ):
        deadline.check("before scoring")


def test_levels_follow_the_time_left() -> None:
    """FULL where it fits, else SEQUENCE, else PRIOR, by what each has taken so far."""
    pace = Pace()
    for _ in range(500):
        pace.learn(FULL, 0.100, 400)
        pace.learn(SEQUENCE, 0.010, 400)
    assert [pace.level(left_s, 400) for left_s in (0.300, 0.100, 0.001)] == [FULL, SEQUENCE, PRIOR]
    assert pace.level(0.1, 10) == FULL  # fewer candidates take less


def test_a_level_above_the_best_is_never_picked_nor_waited_for() -> None:
    """A model that answers at SEQUENCE at most is paced by SEQUENCE and PRIOR alone."""
    pace = Pace(SEQUENCE)
    assert pace.level(1.0, 10) == SEQUENCE
    for _ in range(500):
        pace.learn(SEQUENCE, 0.010, 400)
        pace.learn(FULL, 10.0, 400)
    assert [pace.level(left_s, 400) for left_s in (0.100, 0.001)] == [SEQUENCE, PRIOR]


def test_a_slow_answer_is_forgotten() -> None:
    """After one answer of 10 s, FULL is tried again before 500 requests have passed."""
    pace = Pace()
    pace.learn(FULL, 10.0, 10)
    levels = [pace.level(0.05, 10) for _ in range(500)]
    assert levels[0] != FULL
    assert levels[-1] == FULL
