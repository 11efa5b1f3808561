"""Deadlines, full queues and callers that hang up: every call of a shard ends in time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from actors.calls.admission import Bounds
from actors.calls.deadline import FULL, SEQUENCE, Pace
from actors.calls.status import status_of
from actors.errors import DeadlineExceeded
from actors.serve.limits import RequestLimits
from model.config import ModelConfig
from model.levels import Level
from model.network.export import random_bundle
from rpc import echorank_pb2 as pb
from tests.actors.serve.one_served_shard import USER, served
from tests.actors.serve.refusals import detail, refused
from tests.actors.serve.served_shard import ITEMS, ServedShard, served_shard
from tests.waiting import PATIENCE_S, until

__all__ = ["served"]  # a fixture


async def test_min_offset_ends_with_the_deadline(served: ServedShard) -> None:
    """DEADLINE_EXCEEDED arrives in time to say what was there and what was asked for."""
    request = pb.RecommendRequest(user=USER, arm="main", min_offset=7)
    error = await refused(served.stub.Recommend(request, timeout=1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "applied the clicks below offset 0, min_offset is 7; allow more time" in (
        error.details() or ""
    )


async def test_a_call_without_a_deadline_gets_the_default_one(tmp_path: Path) -> None:
    """It does not wait for ever."""
    async with served_shard(tmp_path, limits=RequestLimits(deadline_default_s=0.05)) as served:
        error = await refused(
            served.stub.Score(pb.ScoreRequest(user=USER, items=["a"], arm="main", min_offset=1))
        )
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


class LateCall:
    """A call whose deadline has just passed."""

    def time_remaining(self) -> float:
        """Nothing."""
        return -0.001

    def invocation_metadata(self) -> tuple[()]:
        """None."""
        return ()


async def test_an_expired_deadline_is_no_work(served: ServedShard) -> None:
    """A call that arrives too late ends before the state is read;
    the status is DEADLINE_EXCEEDED.
    """
    request: Any = pb.ScoreRequest(user=USER, items=["a"], arm="main")
    late: Any = LateCall()
    with pytest.raises(
        DeadlineExceeded, match="ms ago, before it was its turn; allow more time"
    ) as raised:
        await served.service.Score(request, late)
    assert status_of(raised.value).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.counted("score_candidates_count") == 0


class SlowFull(Pace):
    """Has learned that FULL takes 10 s and SEQUENCE nothing."""

    def __init__(self, best: int = FULL) -> None:
        super().__init__(best)
        for _ in range(500):
            self.learn(FULL, 10.0, 1)
            self.learn(SEQUENCE, 0.0, 1)


async def test_too_little_time_for_the_full_model_degrades(tmp_path: Path) -> None:
    """The answer is of level SEQUENCE and counted, instead of a time-out."""
    async with served_shard(tmp_path, pace=SlowFull) as served:
        served.click(USER, *ITEMS[:3])
        response = await served.stub.Score(
            pb.ScoreRequest(user=USER, items=["a"], arm="main"), timeout=1.0
        )
        assert response.origin.level == pb.LEVEL_SEQUENCE
        assert served.counted("degraded_total", reason="deadline") == 1
        assert served.counted("score_seconds_count", arm="main", level="SEQUENCE") == 1


@pytest.mark.parametrize(("left", "level"), [(None, "SEQUENCE"), (0, "PRIOR")])
async def test_the_best_level_of_a_model_is_no_degradation(
    tmp_path: Path, left: int | None, level: str
) -> None:
    """A bundle whose best is SEQUENCE answers at it, and is degraded only below it."""
    bundle = random_bundle(ModelConfig(), ITEMS).limited(Level.SEQUENCE)
    pace = Pace if left is None else SlowSequence
    async with served_shard(tmp_path, arms={"main": bundle}, pace=pace) as served:
        served.click(USER, *ITEMS[:3])
        request = pb.ScoreRequest(user=USER, items=["a"], arm="main")
        response = await served.stub.Score(request, timeout=PATIENCE_S)
        assert pb.Level.Name(response.origin.level) == f"LEVEL_{level}"
        assert served.counted("degraded_total", reason="deadline") == (level == "PRIOR")
        assert served.counted("score_seconds_count", arm="main", level=level) == 1
        seen = await served.stub.Inspect(pb.InspectRequest(user=USER, arm="main"))
        assert seen.origin.level == pb.LEVEL_SEQUENCE


class SlowSequence(Pace):
    """Has learned that SEQUENCE takes a day."""

    def __init__(self, best: int = FULL) -> None:
        super().__init__(best)
        for _ in range(500):
            self.learn(SEQUENCE, 86_400.0, 1)


async def test_a_full_queue_sheds(tmp_path: Path) -> None:
    """The call above queue_max is refused at once with a delay; the one in flight is answered."""
    async with served_shard(tmp_path, bounds=Bounds(queue_max=1)) as served:
        request = pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main", min_offset=1)
        waiting = asyncio.ensure_future(served.stub.Score(request, timeout=PATIENCE_S))
        await until(lambda: served.counted("requests_in_flight"))
        error = await refused(served.stub.Inspect(pb.InspectRequest(user=USER, arm="main")))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == (
            "1 requests are in flight and serving.queue_max is 1; send fewer at a time, or retry "
            "later"
        )
        assert detail(error, RetryInfo).retry_delay.ToMilliseconds() == 100
        await asyncio.to_thread(served.click, USER, ITEMS[0])
        assert (await waiting).origin.offset == 1
        assert served.counted("requests_in_flight") == 0


async def test_a_draining_server_refuses(served: ServedShard) -> None:
    """UNAVAILABLE, and the message says that another one will answer."""
    served.requests.drain()
    error = await refused(served.stub.Inspect(pb.InspectRequest(user=USER, arm="main")))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "about to stop" in (error.details() or "")
    assert served.counted("requests_total", method="Inspect", code="UNAVAILABLE") == 1


async def test_a_cancelled_call_is_counted_as_such(served: ServedShard) -> None:
    """A caller that hangs up frees its place."""
    call = served.stub.Score(
        pb.ScoreRequest(user=USER, items=["a"], arm="main", min_offset=1), timeout=PATIENCE_S
    )
    await until(lambda: served.counted("requests_in_flight"))
    call.cancel()
    await until(lambda: not served.counted("requests_in_flight"))
    assert served.counted("requests_total", method="Score", code="CANCELLED") == 1
