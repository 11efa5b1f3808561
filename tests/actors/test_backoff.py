"""The one policy of trying again."""

from __future__ import annotations

import pytest
from kafka.errors import NotLeaderForPartitionError, TopicAuthorizationFailedError

from actors.backoff import Backoff, Tries, is_retriable
from actors.clock import ManualClock
from actors.errors import BundleError, OffsetGap, Overloaded, ShardUnavailable, StaleEpoch

DOUBLING = Backoff(min_s=0.5, max_s=3.0)


def test_waits_double_up_to_the_longest() -> None:
    """And begin anew once a try has worked; a million failures are no trouble."""
    tries = Tries(DOUBLING, ManualClock().monotonic)
    assert [tries.failed(ShardUnavailable("gone")) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert tries.failures == 5
    tries.worked()
    assert tries.failed(ShardUnavailable("gone")) == 0.5
    assert DOUBLING.after(1_000_000) == 3.0


def test_equal_waits() -> None:
    """The same shortest and longest wait, or none."""
    assert [Backoff(min_s=1, max_s=1).after(n) for n in (1, 2, 9)] == [1, 1, 1]
    assert Backoff(min_s=0, max_s=0).after(3) == 0


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OffsetGap(0, 1, 2), True),
        (Overloaded("full", 0.1), True),
        (StaleEpoch("old"), False),
        (NotLeaderForPartitionError(), True),
        (TopicAuthorizationFailedError(), False),
        (ZeroDivisionError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_errors_class_says_whether_to_try_again(error: Exception, again: bool) -> None:
    """Ours and kafka-python's alike; what is no error about the world never is retriable."""
    assert is_retriable(error) is again


def test_what_is_not_retriable_ends_the_tries() -> None:
    """With itself, unless the loop says that it goes on."""
    now_s = ManualClock().monotonic
    error = BundleError("damaged")
    with pytest.raises(BundleError, match="damaged") as raised:
        Tries(DOUBLING, now_s).failed(error)
    assert raised.value is error
    assert Tries(DOUBLING, now_s, also=(BundleError,)).failed(error) == 0.5


def test_patience_ends() -> None:
    """Counted from the first try, waits and the time that tries take together."""
    clock = ManualClock()
    tries = Tries(Backoff(min_s=1, max_s=1, patience_s=10), clock.monotonic)
    clock.advance(9.5)
    assert tries.failed(ShardUnavailable("gone")) == 1
    clock.advance(0.5)
    with pytest.raises(ShardUnavailable, match="gone"):
        tries.failed(ShardUnavailable("gone"))
