"""Errors on their way to another process."""

from __future__ import annotations

import pickle

import pytest

from actors.archive.parquet import ArchiveDamaged
from actors.errors import (
    BadRecord,
    EchoRankError,
    InvalidRequest,
    OffsetGap,
    OffsetOutOfRange,
    OtherLog,
    Overloaded,
)

ERRORS = [
    InvalidRequest("shards", "9 shards for 4 partitions"),
    BadRecord("key", "the key is no text"),
    OffsetGap(3, 10, 12),
    Overloaded("the queue is full", 0.5),
    OffsetOutOfRange(3, 10),
    OtherLog(3, 10, "topic clicks was made anew"),
    ArchiveDamaged("a.parquet", "torn"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_says_the_same(error: EchoRankError) -> None:
    """An error that was sent to another process has its class, message and attributes there."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
