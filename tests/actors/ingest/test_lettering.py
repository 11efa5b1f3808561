"""Each offset's dead letter once: whatever is replayed, and whoever takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from actors.errors import BrokerUnavailable
from actors.ingest.ingest import Ingest, IngestSettings
from actors.ingest.lettering import REREAD_MAX, Lettering
from monitoring.metrics import Metrics
from tests.actors.ingest.ingest_fakes import FakeLog, FakeRecord, FakeShards, FakeSink, bad, good
from tests.waiting import PATIENCE_S

BAD = (3, 17, 40, 77)
OFFSET = "__streams.errors.offset"


@dataclass
class Marks:
    """Marks that outlive readers; `faults` come first, one a load."""

    below: dict[int, int] = field(default_factory=dict)
    faults: list[BrokerUnavailable] = field(default_factory=list)

    def load(self) -> Mapping[int, int]:
        if self.faults:
            raise self.faults.pop(0)
        return dict(self.below)

    def save(self, below: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        self.below |= below


def records() -> list[FakeRecord | None]:
    """A hundred, of which some are no clicks."""
    return [bad(offset) if offset in BAD else good(offset) for offset in range(100)]


async def read(
    log: FakeLog, sink: FakeSink, marks: Marks, start: int, epochs: tuple[int, ...] = (1,)
) -> FakeShards:
    """A new process reads a partition whose state is at `start`,
    under one epoch after the other, to the end.
    """
    metrics = Metrics(CollectorRegistry())
    clock = ManualClock()
    letters = DeadLetters(
        sink, topic="clicks.dlq", source_topic="clicks", metrics=metrics, marks=marks
    )
    shards = FakeShards(starts={0: start})
    ingest = Ingest(
        log, letters, Decoder(EventFormat(), clock), shards, metrics, clock, IngestSettings()
    )
    for epoch in epochs:
        shards.at = {0: start}
        shards.epochs = {0: epoch}
        ingest.assign({0: epoch})
        for _ in range(50):
            await ingest.run_once()
            clock.advance(10)
        assert shards.at == {0: len(log.partitions[0])}
    await ingest.close()
    return shards


async def test_a_replay_writes_no_letter_again() -> None:
    """Neither a state that begins anew (a changed model),
    under the same process or another, nor an older one.
    """
    log = FakeLog({0: records()}, records_per_poll=7)
    sink = FakeSink()
    marks = Marks()
    await read(log, sink, marks, 0, epochs=(1, 2))
    for start in (0, 50, 0):
        await read(log, sink, marks, start)
    assert sink.header(OFFSET) == [str(offset) for offset in BAD]
    log.partitions[0] += [good(100), bad(101)]
    await read(log, sink, marks, 0)
    assert sink.header(OFFSET) == [*(str(offset) for offset in BAD), "101"]


async def test_a_reader_saves_the_marks_of_its_own_partitions_alone() -> None:
    """What it loaded of others may have moved since."""
    marks = Marks(below={0: 0, 5: 70})
    one = lettering(marks)
    await one.load()
    marks.below[5] = 80
    one.read_from(0, 0)
    one.save([0])
    assert marks.below == {0: 0, 5: 80}


async def test_what_a_standby_passed_is_lettered_by_the_next_owner() -> None:
    """A state that is ahead of the letters is not read from there on:
    nobody else writes what lies between.
    """
    log = FakeLog({0: records()}, records_per_poll=7)
    sink = FakeSink()
    marks = Marks(below={0: 20})
    shards = await read(log, sink, marks, start=80)
    assert sink.header(OFFSET) == ["40", "77"]
    assert shards.applied[0] == list(range(80, 100))
    assert marks.below == {0: 100}


async def test_without_marks_letters_begin_where_the_state_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether there are none, or they cannot be had, which is said."""
    for marks in (Marks(), Marks(faults=[BrokerUnavailable("nobody coordinates the group")])):
        sink = FakeSink()
        await read(FakeLog({0: records()}), sink, marks, start=30)
        assert sink.header(OFFSET) == ["40", "77"]
    assert "some may come twice: nobody coordinates the group" in caplog.text


async def test_letters_that_were_not_written_are_tried_again() -> None:
    """Nothing counts as written before its topic has it."""
    log = FakeLog({0: records()}, records_per_poll=50)
    marks = Marks()
    sink = FakeSink(faults=[BrokerUnavailable("away"), None, BrokerUnavailable("away")])
    await read(log, sink, marks, 0)
    assert sink.header(OFFSET) == [str(offset) for offset in BAD]


async def test_letters_of_lost_offsets_hold_nobody_up() -> None:
    """Where the log has lost what only the letters needed, reading goes on at its start."""
    log = FakeLog({0: records()}, starts={0: 60})
    sink = FakeSink()
    shards = await read(log, sink, Marks(below={0: 20}), start=80)
    assert (sink.header(OFFSET), shards.skipped) == (["77"], [])
    shards = await read(log, sink, Marks(below={0: 20}), start=30)
    assert shards.skipped == [(0, 30, 60)]


def lettering(marks: Marks) -> Lettering:
    """One that says errors to nobody."""
    letters = DeadLetters(
        FakeSink(),
        topic="clicks.dlq",
        source_topic="clicks",
        metrics=Metrics(CollectorRegistry()),
        marks=marks,
    )
    return Lettering(letters, lambda _: None)


async def test_marks_of_another_log_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    """Letters beyond the log's end were not this log's: they are written from its end on."""
    one = lettering(Marks(below={0: 5000}))
    await one.load()
    one.ends(0, 50)
    assert one.read_from(0, 60) == 50
    assert "below offset 5000 of a log that ends at 50" in caplog.text


async def test_a_state_far_ahead_is_not_held_up(caplog: pytest.LogCaptureFixture) -> None:
    """So far back nobody reads again; it is said which letters may be missing."""
    one = lettering(Marks(below={0: 10}))
    await one.load()
    assert one.read_from(0, 10 + REREAD_MAX) == 10
    assert one.read_from(0, 11 + REREAD_MAX) == 11 + REREAD_MAX
    assert "letters between these may be missing" in caplog.text


async def test_marks_that_come_late_are_gone_back_to(caplog: pytest.LogCaptureFixture) -> None:
    """A state ahead of its letters, and marks that nobody gives at first: the marks stay as they
    are, and once they are known the reader goes back to them.
    """
    marks = Marks(below={0: 10}, faults=[BrokerUnavailable("nobody answers")])
    one = lettering(marks)
    batch, dead = Decoder(EventFormat(), ManualClock()).decode_batch(0, 50, 60, [])
    assert not dead
    await one.load()
    assert one.read_from(0, 50) == 50
    await one.write(batch, [])
    one.save([0])
    assert marks.below == {0: 10}
    assert "is not known yet, some may come twice: nobody answers" in caplog.text
    async with asyncio.timeout(PATIENCE_S):
        while one.read_from(0, 60) == 60:
            await asyncio.sleep(0)
            await one.load()
    assert one.read_from(0, 60) == 10
    assert marks.below == {0: 10}
