"""How streams share a server with single calls, at the gateway and at a shard alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from actors.calls.admission import Bounds
from actors.calls.interceptor import RequestInterceptor
from actors.calls.status import details_of
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc
from tests.actors.serve.gateway_door import opened
from tests.actors.serve.served_shard import ITEMS, served_shard, user_of
from tests.waiting import PATIENCE_S, until

USER = user_of(0)


@dataclass
class Served:
    """One server, and a way to apply a click behind it."""

    stub: pb_grpc.ScoringStub
    metrics: Metrics
    requests: RequestInterceptor
    click: Callable[..., object]

    def counted(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(f"echorank_{name}", labels) or 0.0

    async def stream(self) -> Any:
        """A stream that has asked once, and stays open."""
        call = self.stub.ScoreStream(timeout=PATIENCE_S)
        await call.write(question())
        assert (await call.read()).origin.arm == "main"
        return call


def question(min_offset: int = 0) -> pb.ScoreRequest:
    """A small question."""
    return pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main", min_offset=min_offset)


@asynccontextmanager
async def gateway(directory: Path, bounds: Bounds) -> AsyncIterator[Served]:
    """A gateway with these bounds, before shards."""
    async with opened(directory, bounds) as door:
        door.gateway.follow(door.table(1))
        yield Served(door.stub, door.metrics, door.server._requests, door.shards[0].click)


@asynccontextmanager
async def shard(directory: Path, bounds: Bounds) -> AsyncIterator[Served]:
    """A shard with these bounds."""
    async with served_shard(directory, bounds=bounds) as served:
        yield Served(served.stub, served.metrics, served.requests, served.click)


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


both = pytest.mark.parametrize("server", [gateway, shard])


@both
async def test_streams_that_ask_nothing_take_no_place(tmp_path: Path, server: Any) -> None:
    """More open streams than questions may be in flight: others are answered all the same."""
    async with server(tmp_path, Bounds(queue_max=1)) as served:
        streams = [await served.stream() for _ in range(3)]
        assert (served.counted("streams_open"), served.counted("requests_in_flight")) == (3, 0)
        assert (await served.stub.Score(question())).origin.arm == "main"
        await streams[0].write(question())
        assert (await streams[0].read()).origin.arm == "main"


@both
async def test_a_question_on_a_stream_counts_until_it_is_answered(
    tmp_path: Path, server: Any
) -> None:
    """A single call is refused meanwhile, and answered afterwards."""
    async with server(tmp_path, Bounds(queue_max=1)) as served:
        stream = await served.stream()
        await stream.write(question(min_offset=1))
        await until(lambda: served.counted("requests_in_flight"))
        assert (
            await refused(served.stub.Score(question()))
        ).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.to_thread(served.click, USER, ITEMS[0])
        assert (await stream.read()).origin.offset == 1
        assert (await served.stub.Score(question())).origin.offset == 1


@both
async def test_streams_have_a_bound_of_their_own(tmp_path: Path, server: Any) -> None:
    """The one too many is refused with a delay and counted; one that is closed makes room."""
    async with server(tmp_path, Bounds(queue_max=8, streams_max=2)) as served:
        streams = [await served.stream() for _ in range(2)]
        error = await refused(served.stream())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (error.details() or "").startswith(
            "2 streams are open and serving.streams_max is 2; ask several"
        )
        assert any(isinstance(each, RetryInfo) for each in details_of(error))
        assert (
            served.counted("requests_total", method="ScoreStream", code="RESOURCE_EXHAUSTED") == 1
        )
        await streams[0].done_writing()
        await until(lambda: served.counted("streams_open") == 1)
        await served.stream()


@both
async def test_a_stream_without_questions_is_closed(tmp_path: Path, server: Any) -> None:
    """ABORTED once no question has come for stream_idle_s, with what to do; its place is free."""
    async with server(tmp_path, Bounds(queue_max=8, stream_idle_s=0.05)) as served:
        error = await refused((await served.stream()).read())
        assert error.code() is grpc.StatusCode.ABORTED
        assert error.details() == (
            "no question came on this stream for 0.05 s (serving.stream_idle_s), so it is closed; "
            "open a new one with the next question"
        )
        await until(lambda: not served.counted("streams_open"))
        assert served.counted("requests_total", method="ScoreStream", code="ABORTED") == 1


@both
async def test_a_question_that_waits_is_not_idle(tmp_path: Path, server: Any) -> None:
    """The idle time counts from the answer to the next question, not while one is answered."""
    async with server(tmp_path, Bounds(queue_max=8, stream_idle_s=0.2)) as served:
        stream = served.stub.ScoreStream(timeout=PATIENCE_S)
        await stream.write(question(min_offset=1))
        await until(lambda: served.counted("requests_in_flight"))
        # one that is idle from now on is closed meanwhile
        await refused((await served.stream()).read())
        await asyncio.to_thread(served.click, USER, ITEMS[0])
        assert (await stream.read()).origin.offset == 1


@both
async def test_a_draining_server_takes_no_question_of_an_open_stream(
    tmp_path: Path, server: Any
) -> None:
    """The next question ends the stream as UNAVAILABLE, so that the client opens one elsewhere."""
    async with server(tmp_path, Bounds(queue_max=8)) as served:
        stream = await served.stream()
        served.requests.drain()
        await stream.write(question())
        error = await refused(stream.read())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "about to stop" in (error.details() or "")
