"""Ingest: whatever fails and however polls are cut, each click reaches its shard once, in order."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import (
    BrokerUnavailable,
    ConfigError,
    NotOwner,
    OffsetGap,
    Overloaded,
    SnapshotError,
    StaleEpoch,
)
from tests.actors.ingest.ingest_fakes import AfterEffect, FakeLog, FakeShards, FakeSink, bad, good
from tests.actors.ingest.ingest_rig import DOWN, clicks, rig
from tests.waiting import PATIENCE_S


async def test_every_click_is_applied_once_in_order() -> None:
    """Two partitions of different length, cut into small polls, arrive whole."""
    r = rig(FakeLog({0: clicks(25), 1: clicks(7)}, records_per_poll=4))
    await r.until(lambda: r.shards.at == {0: 25, 1: 7})
    assert r.shards.applied == {0: list(range(25)), 1: list(range(7))}


async def test_reading_starts_where_the_shard_says() -> None:
    """The shard's position decides, not the group's committed offset and not the log's start."""
    r = rig(FakeLog({0: clicks(10)}), FakeShards(starts={0: 6}))
    await r.until(lambda: r.shards.at == {0: 10})
    assert r.shards.applied == {0: [6, 7, 8, 9]}


async def test_holes_move_the_position() -> None:
    """Ranges follow the reader's position, so markers at the end,
    between and alone in a poll do not stall.
    """
    r = rig(
        FakeLog({0: [good(0), None, good(2), None, None, None, good(6), None]}, records_per_poll=2)
    )
    await r.until(lambda: r.shards.at == {0: 8})
    assert r.shards.applied == {0: [0, 2, 6]}
    assert r.shards.journal == [
        "deliver 0 0..2",
        "deliver 0 2..4",
        "deliver 0 4..6",
        "deliver 0 6..8",
    ]
    assert r.count("ingest_lag_records", partition="0") == 0


@pytest.mark.parametrize(
    "error", [DOWN, NotOwner("moved"), StaleEpoch("old"), Overloaded("full", 3.0)]
)
async def test_one_shard_that_refuses_does_not_hold_up_the_others(error: Exception) -> None:
    """While partition 0 waits, partition 1 flows; afterwards nothing is missing or doubled."""
    log = FakeLog({0: clicks(10), 1: clicks(30)}, records_per_poll=3)
    r = rig(log, FakeShards(faults={0: [None, *[error] * 5]}))
    await r.until(lambda: r.shards.at.get(1) == 30, step_s=0.01)
    assert r.shards.at[0] < 10
    await r.until(lambda: r.shards.at == {0: 10, 1: 30})
    assert r.shards.applied == {0: list(range(10)), 1: list(range(30))}
    assert r.count("ingest_retries_total", error=type(error).__name__) == 5


async def test_a_shard_that_never_answers_does_not_hold_up_the_others() -> None:
    """A hanging call costs the others one patience; its partition goes on when the call ends."""
    hang = asyncio.Event()
    log = FakeLog({0: clicks(10), 1: clicks(30)}, records_per_poll=3)
    r = rig(log, FakeShards(faults={0: [hang]}))
    await r.until(lambda: r.shards.at.get(1) == 30)
    assert 0 not in r.shards.applied
    assert r.ingest.lags() == {0: 10, 1: 0}
    hang.set()
    await r.until(lambda: r.shards.at == {0: 10, 1: 30})
    assert r.shards.applied[0] == list(range(10))


async def test_waiting_grows_and_has_a_bound() -> None:
    """A shard that stays down is asked less and less often, but at least every `max_s`."""
    shards = FakeShards(position_faults={0: [DOWN] * 1000})
    r = rig(FakeLog({0: clicks(1)}), shards)
    asked: list[float] = []
    for _ in range(4000):
        before = len(shards.position_faults[0])
        await r.ingest.run_once()
        if len(shards.position_faults[0]) < before:
            asked.append(r.clock.monotonic())
        r.clock.advance(0.01)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps[:4] == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.1)
    assert gaps[4:] == pytest.approx([8.0] * len(gaps[4:]), abs=0.1)
    assert len(gaps) >= 6


async def test_a_gap_seeks_to_what_the_shard_expects() -> None:
    """A shard that was restored to an earlier offset gets everything from there."""
    shards = FakeShards()
    r = rig(FakeLog({0: clicks(12)}, records_per_poll=4), shards)
    await r.until(lambda: shards.at.get(0) == 8)
    # a crash and an older snapshot
    shards.at[0] = 2
    shards.applied[0] = [0, 1]
    await r.until(lambda: shards.at == {0: 12}, step_s=0.0)
    assert shards.applied[0] == list(range(12))
    assert r.count("ingest_retries_total", error="OffsetGap") == 1


async def test_gaps_in_a_row_wait_like_other_failures() -> None:
    """A shard that keeps answering with a gap is not asked in a busy loop."""
    r = rig(FakeLog({0: clicks(5)}), FakeShards(faults={0: [OffsetGap(0, 0, 0)] * 100}))
    for _ in range(50):
        await r.ingest.run_once()
    assert r.shards.calls == 2


async def test_a_lost_answer_applies_nothing_twice() -> None:
    """The batch was applied and the answer was lost:
    the shard's position tells, not the failure.
    """
    r = rig(
        FakeLog({0: clicks(9)}, records_per_poll=3),
        FakeShards(faults={0: [None, AfterEffect(DOWN)]}),
    )
    await r.until(lambda: r.shards.at == {0: 9})
    assert r.shards.applied[0] == list(range(9))


async def test_a_shard_that_is_further_ahead_is_followed() -> None:
    """If somebody else applied more than the batch, reading goes on there."""
    shards = FakeShards()
    r = rig(FakeLog({0: clicks(20)}, records_per_poll=5), shards)
    await r.until(lambda: shards.at.get(0) == 5)
    shards.at[0] = 14
    await r.until(lambda: shards.at == {0: 20})
    assert shards.applied[0] == [*range(5), *range(14, 20)]


async def test_a_new_epoch_starts_afresh_and_a_lost_partition_is_left() -> None:
    """After a hand-over, the new owner is asked where to go on;
    what is no longer ours is not read.
    """
    shards = FakeShards()
    r = rig(FakeLog({0: clicks(8), 1: clicks(8)}, records_per_poll=4), shards)
    await r.until(lambda: shards.at == {0: 4, 1: 4})
    shards.epochs = {0: 2}
    for _ in range(3):
        await r.ingest.run_once()
    assert shards.at[0] == 4
    r.ingest.assign({0: 2})
    await r.until(lambda: shards.at[0] == 8)
    assert shards.applied[0] == list(range(8))
    assert r.ingest.lags() == {0: 0}


async def test_a_partition_given_up_abandons_the_call_in_flight() -> None:
    """Taking a partition away from a hanging shard ends the round; closing does too."""
    r = rig(FakeLog({0: clicks(3)}), FakeShards(faults={0: [asyncio.Event()]}))
    await r.until(lambda: r.shards.calls == 1)
    await r.ingest.close()
    assert r.ingest.lags() == {}
    assert await r.ingest.run_once() == 0


async def test_offsets_that_the_log_lost_are_skipped_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Retention overtook the snapshot: the shard is told what is lost,
    the log names both offsets, reading goes on.
    """
    shards = FakeShards(starts={0: 2})
    r = rig(FakeLog({0: clicks(10), 1: clicks(4)}, starts={0: 7}), shards)
    with caplog.at_level(logging.ERROR):
        await r.until(lambda: shards.at == {0: 10, 1: 4})
    assert shards.skipped == [(0, 2, 7)]
    assert shards.applied == {0: [7, 8, 9], 1: [0, 1, 2, 3]}
    assert "partition 0: the log has lost the offsets from 2 to 6" in caplog.text
    assert "going on at 7" in caplog.text
    assert "there is no archive" in caplog.text


@pytest.mark.parametrize("refuses", [True, False], ids=["broker refuses", "broker keeps silent"])
async def test_a_state_ahead_of_its_log_stands_still(
    caplog: pytest.LogCaptureFixture, refuses: bool
) -> None:
    """A log made anew is not folded into the old log's state,
    also not once it has grown; others flow.
    """
    log = FakeLog({0: clicks(5), 1: clicks(6)}, refuses_beyond_end=refuses)
    r = rig(log, FakeShards(starts={0: 9}))
    with caplog.at_level(logging.ERROR):
        await r.until(lambda: r.shards.at.get(1) == 6)
        await r.until(lambda: r.count("ingest_retries_total", error="OffsetOutOfRange") >= 3)
    assert r.shards.at[0] == 9
    assert "below offset 9, but the log ends before that" in caplog.text
    assert "state.directory" in caplog.text


async def test_lag_and_ends_are_reported() -> None:
    """Lag is what the shard has not applied, at a standstill as well;
    shards learn the high watermark.
    """
    r = rig(FakeLog({0: clicks(10)}, records_per_poll=4), FakeShards(faults={0: [None, DOWN]}))
    assert r.ingest.lags() == {}
    await r.until(lambda: r.shards.at.get(0) == 4)
    assert r.ingest.lags() == {0: 6}
    assert r.count("ingest_lag_records", partition="0") == 6
    assert r.shards.ends == {0: 10}
    await r.ingest.run_once()
    assert r.ingest.lags() == {0: 6}


async def test_durable_offsets_are_committed_and_failures_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Lag tools see what snapshots cover;
    a commit that fails is counted and made up for, ingest goes on.
    """
    log = FakeLog({0: clicks(6)}, commit_faults=[BrokerUnavailable("no coordinator")])
    r = rig(log)
    await r.until(lambda: r.count("commit_failures_total") == 1)
    assert log.committed == {}
    assert "no coordinator" in caplog.text
    await r.until(lambda: log.committed == {0: 6})


async def test_shards_that_cannot_say_what_is_durable_do_not_stop_ingest() -> None:
    """An error of `durable` is a failed commit, nothing more."""

    class Undecided(FakeShards):
        async def durable(self) -> dict[int, int]:
            raise SnapshotError("the manifest cannot be read; check state.directory")

    r = rig(FakeLog({0: clicks(6)}, records_per_poll=1), Undecided())
    await r.until(lambda: r.count("commit_failures_total") >= 2)
    await r.until(lambda: r.shards.at == {0: 6})


async def test_run_waits_longer_after_each_failure_of_the_broker() -> None:
    """An unreachable broker is tried again with growing waits;
    the first success starts over; `stop` ends it.
    """
    down = BrokerUnavailable("nobody answers")
    r = rig(FakeLog({0: clicks(4)}, records_per_poll=2, faults=[*[down] * 7, None, down]))
    stop = asyncio.Event()

    async def stop_at_the_end() -> None:
        while r.shards.at != {0: 4}:
            await asyncio.sleep(0)
        stop.set()

    await asyncio.wait_for(asyncio.gather(r.ingest.run(stop), stop_at_the_end()), PATIENCE_S)
    assert [wait for wait in r.waits if wait != 0.01] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 0.5]
    assert r.waits.count(0.01) == 2  # after each round with a few clicks
    assert r.count("ingest_retries_total", error="BrokerUnavailable") == 8


async def test_run_ends_with_what_does_not_pass() -> None:
    """An error whose class says that the same call cannot succeed is no reason to wait."""
    r = rig(FakeLog({0: clicks(1)}, faults=[ConfigError("no such topic")]))
    with pytest.raises(ConfigError, match="no such topic"):
        await r.ingest.run(asyncio.Event())
    assert r.waits == []


@pytest.mark.parametrize(("error", "wait_s"), [(DOWN, 0.5), (SnapshotError("no room"), 8.0)])
async def test_a_lane_waits_as_the_error_says(error: Exception, wait_s: float) -> None:
    """Shortly at first where the same call may succeed, as long as may be where it cannot."""
    r = rig(FakeLog({0: clicks(1)}), FakeShards(faults={0: [error]}))
    began_s = r.clock.monotonic()
    await r.until(lambda: r.shards.at == {0: 1}, step_s=0.1)
    assert wait_s <= r.clock.monotonic() - began_s <= wait_s + 0.6  # some rounds


async def test_a_bug_in_a_shard_call_is_not_retried() -> None:
    """What is no error of the world ends ingest, so that it is seen."""
    r = rig(FakeLog({0: clicks(2)}), FakeShards(faults={0: [KeyError("bug")]}))
    with pytest.raises(KeyError):
        await r.until(lambda: False)


apply_faults = st.sampled_from(
    [None, DOWN, NotOwner("moved"), Overloaded("full", 1.0), AfterEffect(DOWN)]
)


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.sampled_from(["good", "bad", "hole"]), max_size=30),
    size=st.integers(1, 9),
    faults=st.lists(apply_faults, max_size=8),
    dlq_faults=st.lists(st.sampled_from([None, BrokerUnavailable("no dlq")]), max_size=4),
    poll_faults=st.lists(st.sampled_from([None, BrokerUnavailable("no broker")]), max_size=4),
)
async def test_any_faults_and_any_cuts_give_each_click_once(
    items: list[str],
    size: int,
    faults: list[Exception | asyncio.Event | None],
    dlq_faults: list[BrokerUnavailable | None],
    poll_faults: list[Exception | None],
) -> None:
    """Whatever fails in whatever order: good clicks are applied once in order,
    bad ones are dead-lettered once.
    """
    kinds = {"good": good, "bad": bad, "hole": lambda _: None}
    log = FakeLog({0: [kinds[item](at) for at, item in enumerate(items)]}, size, faults=poll_faults)
    r = rig(log, FakeShards(starts={0: 0}, faults={0: faults}), FakeSink(faults=dlq_faults))
    stop = asyncio.Event()

    async def wait_on() -> None:
        while r.shards.at[0] < len(items):
            r.clock.advance(1.0)
            await asyncio.sleep(0)
        stop.set()

    await asyncio.wait_for(asyncio.gather(r.ingest.run(stop), wait_on()), PATIENCE_S)
    assert r.shards.applied.get(0, []) == [at for at, item in enumerate(items) if item == "good"]
    letters = [int(offset) for offset in r.sink.header("__streams.errors.offset")]
    assert letters == [at for at, item in enumerate(items) if item == "bad"]


async def test_the_lag_of_a_partition_that_is_read_no_more_is_not_shown() -> None:
    """A standby that was promoted has none; its last lag would alarm somebody for ever."""
    r = rig(FakeLog({0: clicks(10)}, records_per_poll=4), FakeShards())
    await r.until(lambda: r.shards.at.get(0) == 4)
    labels = {"partition": "0"}
    assert r.registry.get_sample_value("echorank_ingest_lag_records", labels) is not None
    r.ingest.assign({})
    await r.ingest.run_once()
    assert r.registry.get_sample_value("echorank_ingest_lag_records", labels) is None
