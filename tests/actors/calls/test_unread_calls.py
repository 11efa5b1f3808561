"""Calls that gRPC ends before anybody looks at them are counted as their callers see them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter

import grpc
import hypothesis.strategies as st
import pytest
from hypothesis import given
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import SERVICE, RequestInterceptor
from actors.calls.server import RpcServer
from actors.calls.unread_calls import HANDED_OVER, ROUNDS, UnreadCalls, cygrpc
from monitoring.metrics import Metrics
from tests.waiting import PATIENCE_S, until

CALLS = 2000
QUEUE_MAX = 16


def unread_of(metrics: Metrics) -> float:
    """How many unread calls the metrics show."""
    found = metrics.registry.get_sample_value(
        "echorank_requests_total", {"method": "unread", "code": "CANCELLED"}
    )
    return found or 0.0


@given(
    rounds=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=30)
)
def test_none_is_counted_that_may_still_be_looked_at(
    rounds: list[tuple[int, int, bool]],
) -> None:
    """A round: so many begin, those beyond gRPC's queue end, so many are looked at;
    some are handed over before, and those that began may queue up a round later.
    """
    metrics = Metrics(CollectorRegistry())
    began = seen = ended = before_queue = queued = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            cygrpc,
            "channelz_get_server",
            lambda _: json.dumps({"server": {"data": {"callsStarted": str(began)}}}),
        )
        unread = UnreadCalls(metrics, 1, QUEUE_MAX)
        for begin, read, late in rounds:
            queued += before_queue
            before_queue = begin if late else 0
            queued += begin - before_queue
            began += begin
            held = min(queued, QUEUE_MAX + HANDED_OVER)
            ended += queued - held
            queued = held - min(read, held)
            seen += min(read, held)
            unread.look(seen)
            assert unread_of(metrics) <= ended
        held = min(queued + before_queue, QUEUE_MAX + HANDED_OVER)
        ended += queued + before_queue - held
        for _ in range(ROUNDS + 1):
            unread.look(seen + held)
    assert unread_of(metrics) == ended


async def test_a_flood_is_counted_to_the_last_call() -> None:
    """While the event loop is busy thousands of calls come;
    all that callers see is in the metrics in the end.
    """
    metrics = Metrics(CollectorRegistry())
    seen = Counter[str]()

    async def score(_raw: bytes, _context: object) -> bytes:
        return b""

    def add(server: grpc.aio.Server) -> None:
        methods = {"Score": grpc.unary_unary_rpc_method_handler(score)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    server = RpcServer(add, RequestInterceptor(metrics, Bounds(queue_max=8)), 65_536)
    async with grpc.aio.insecure_channel(await server.start("127.0.0.1", 0)) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Score")

        async def ask() -> None:
            try:
                await call(b"", timeout=PATIENCE_S)
                seen["OK"] += 1
            except grpc.aio.AioRpcError as error:
                seen[error.code().name] += 1

        busy = threading.Event()
        asyncio.get_running_loop().call_later(0.02, busy.wait, 0.5)
        await asyncio.gather(*(ask() for _ in range(CALLS)))
        assert seen["CANCELLED"] > 100, seen

        await until(lambda: unread_of(metrics) == seen["CANCELLED"])
        await server.stop(0)
    assert unread_of(metrics) == seen["CANCELLED"]
    answered = {"method": "Score", "code": "OK"}
    assert metrics.registry.get_sample_value("echorank_requests_total", answered) == seen["OK"]
