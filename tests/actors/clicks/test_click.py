"""ClickBatch: ranges of offsets, not counts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.clicks.click import ClickBatch, key


def batch(start: int, stop: int, offsets: list[int]) -> ClickBatch:
    """A batch whose columns all hold the offsets."""
    ids = np.array(offsets, dtype=np.uint64)
    times = np.array(offsets, dtype=np.int64)
    return ClickBatch(
        partition=0,
        start=start,
        stop=stop,
        offsets=times,
        users=ids,
        items=ids,
        actions=ids,
        times_ms=times,
        record_ms=times,
    )


@given(st.sets(st.integers(10, 40)), st.integers(0, 60))
def test_after_keeps_what_lies_at_or_beyond_the_offset(offsets: set[int], cut: int) -> None:
    """`after` drops the events below the cut,
    whatever holes the offsets have, and moves the range's start.
    """
    rest = batch(10, 45, sorted(offsets)).after(cut)
    assert rest.offsets.tolist() == sorted(offset for offset in offsets if offset >= cut)
    assert (
        rest.users.tolist()
        == rest.items.tolist()
        == rest.record_ms.tolist()
        == rest.offsets.tolist()
    )
    assert (rest.start, rest.stop) == (min(max(cut, 10), 45), 45)


def test_key_is_the_xxh64_of_the_utf_8_bytes() -> None:
    """Keys are stable across versions and machines: a snapshot holds them."""
    assert key("") == 0xEF46DB3751D8E999
    assert key("ü") == key("\u00fc") != key("u")
