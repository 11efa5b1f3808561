"""The log as a history."""

from __future__ import annotations

import pytest

from actors.clicks.click import ClickBatch
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from actors.errors import BrokerUnavailable
from actors.ingest.log_reader import PATIENCE_S, LogReader
from actors.ingest.ports import Gap
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog, bad, good


class TickingClock(ManualClock):
    """Moves a tenth of a second whenever it is looked at."""

    def monotonic(self) -> float:
        self.advance(0.1)
        return super().monotonic()


def reader(log: FakeLog) -> LogReader:
    """A reader over a fake log."""
    clock = TickingClock(NOW_MS)
    return LogReader(log, Decoder(EventFormat(), clock), clock)


def shape(pieces: list[ClickBatch | Gap]) -> list[tuple[int, int, list[int] | str]]:
    """Ranges, with the offsets of clicks or the reason of a gap."""
    return [
        (
            piece.start,
            piece.stop,
            piece.offsets.tolist() if isinstance(piece, ClickBatch) else piece.reason,
        )
        for piece in pieces
    ]


def test_a_range_is_read_as_ingest_would_decode_it() -> None:
    """Holes and bad records are inside the ranges; the range ends where it was asked to."""
    log = FakeLog(
        {3: [good(0), bad(1), None, good(3), good(4), good(5), good(6)]}, records_per_poll=2
    )
    assert shape(list(reader(log).read(3, 0, 6))) == [(0, 2, [0]), (2, 4, [3]), (4, 6, [4, 5])]
    assert shape(list(reader(log).read(3, 3, 5))) == [(3, 5, [3, 4])]
    assert shape(list(reader(log).read(3, 5, 5))) == []


def test_the_end_is_the_high_watermark() -> None:
    """Also of a log whose beginning is gone, and of an empty one."""
    assert reader(FakeLog({0: [good(n) for n in range(9)]}, starts={0: 5})).end(0) == 9
    assert reader(FakeLog({0: []})).end(0) == 0


def test_what_the_log_has_lost_is_a_gap() -> None:
    """Up to the oldest offset, or up to where it was asked to;
    one reader can read again and again.
    """
    log = reader(FakeLog({0: [good(n) for n in range(9)]}, starts={0: 5}))
    assert shape(list(log.read(0, 2, 7))) == [(2, 5, "the log starts at offset 5"), (5, 7, [5, 6])]
    assert shape(list(log.read(0, 2, 4))) == [(2, 4, "the log starts at offset 5")]
    assert shape(list(log.read(0, 7, 9))) == [(7, 9, [7, 8])]


def test_a_log_that_ends_before_the_range_has_none_of_it() -> None:
    """The topic was made anew: that is a gap, not an endless wait."""
    log = reader(FakeLog({0: [good(0)]}))
    assert shape(list(log.read(0, 5, 8))) == [(5, 8, "the log ends below offset 5")]


def test_a_log_that_gives_no_more_ends_the_range_early() -> None:
    """Records of an open transaction do not come:
    after the patience the reader gives up where it is.
    """
    log = FakeLog({0: [good(n) for n in range(4)]})
    clock = TickingClock(NOW_MS)
    found = list(LogReader(log, Decoder(EventFormat(), clock), clock).read(0, 0, 10))
    assert shape(found) == [(0, 4, [0, 1, 2, 3])]
    assert clock.monotonic() > PATIENCE_S


def test_an_unreachable_broker_is_an_error() -> None:
    """It is not mistaken for an end."""
    log = reader(FakeLog({0: [good(0)]}, faults=[BrokerUnavailable("gone")]))
    with pytest.raises(BrokerUnavailable):
        list(log.read(0, 0, 1))
