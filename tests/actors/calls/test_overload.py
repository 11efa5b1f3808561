"""More calls than a shard can answer, through a real gateway over real sockets."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import SERVICE, RequestInterceptor
from actors.calls.server import RpcServer
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from cluster.coordinator.routing import Replica, Route, RoutingTable
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc
from tests.actors.serve.gateway_door import ARMS

ANSWER_S = 0.05  # so 20 answers a second at the most
DEADLINE_S = 1.0
LOAD = 6  # times what can be answered
SECONDS = 4.0


@dataclass
class Seen:
    """What the callers saw."""

    codes: Counter[str] = field(default_factory=Counter)
    refused_after_s: list[float] = field(default_factory=list)

    async def call(self, stub: pb_grpc.ScoringStub, number: int) -> None:
        """Ask once."""
        began = time.monotonic()
        try:
            await stub.Score(
                pb.ScoreRequest(user=f"user-{number}", items=["a"]), timeout=DEADLINE_S
            )
            self.codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.refused_after_s.append(time.monotonic() - began)


@dataclass
class Work:
    """What a shard computed."""

    answers: int = 0
    busy_s: float = 0.0

    def compute(self) -> None:
        """One answer."""
        began = time.monotonic()
        threading.Event().wait(ANSWER_S)
        self.answers = self.answers + 1
        self.busy_s = self.busy_s + time.monotonic() - began


@asynccontextmanager
async def slow_shard(work: Work) -> AsyncIterator[str]:
    """A shard that computes one answer at a time, for as long as it takes,
    for whoever still waits for it.
    """
    with ThreadPoolExecutor(1) as executor:

        async def score(_raw: bytes, _context: object) -> bytes:
            await asyncio.get_running_loop().run_in_executor(executor, work.compute)
            return pb.ScoreResponse(probabilities=[0.5]).SerializeToString()

        server = grpc.aio.server()
        methods = {"Score": grpc.unary_unary_rpc_method_handler(score)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(None)


@asynccontextmanager
async def gateway_to(shard: str, metrics: Metrics) -> AsyncIterator[pb_grpc.ScoringStub]:
    """A gateway with the shipped bounds before one shard."""
    gateway = Gateway(limits=RequestLimits(), salt="s", message_bytes_max=65_536, metrics=metrics)
    gateway.follow(
        RoutingTable(
            version=1,
            routes=(Route(owner=Replica(shard="shard-0", epoch=1, address=shard)),),
            arms=ARMS,
        )
    )
    requests = RequestInterceptor(metrics, Bounds(queue_max=512), gateway.wait_s)
    server = RpcServer(gateway.add_to, requests, 65_536)
    async with grpc.aio.insecure_channel(await server.start("127.0.0.1", 0)) as channel:
        yield pb_grpc.ScoringStub(channel)
    await server.stop(0)
    await gateway.close()


async def test_overload_takes_no_answers() -> None:
    """At six times what can be answered the shard is kept busy, with answers in time;
    the others are refused at once.

    Each call is counted by the code that its caller saw, but for the few whose deadline passed on
    the way.
    """
    metrics = Metrics(CollectorRegistry())
    seen = Seen()
    work = Work()
    async with slow_shard(work) as shard, gateway_to(shard, metrics) as stub:
        began = time.monotonic()
        calls = [
            asyncio.ensure_future(seen.call(stub, number))
            async for number in ticks(LOAD / ANSWER_S, SECONDS)
        ]
        await asyncio.gather(*calls)
        took_s = time.monotonic() - began

    def counted(code: str) -> float:
        labels = {"method": "Score", "code": code}
        return metrics.registry.get_sample_value("echorank_requests_total", labels) or 0.0

    assert work.busy_s > 0.6 * took_s
    assert seen.codes["OK"] > 0.8 * work.answers, seen.codes
    assert seen.codes["RESOURCE_EXHAUSTED"] > 0.5 * len(calls), seen.codes
    assert sorted(seen.refused_after_s)[len(seen.refused_after_s) // 2] < DEADLINE_S / 4
    assert counted("OK") >= seen.codes["OK"]
    assert counted("RESOURCE_EXHAUSTED") >= seen.codes["RESOURCE_EXHAUSTED"]
    assert sum(
        map(counted, ("OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"))
    ) > 0.9 * len(calls)


async def ticks(rate: float, seconds: float) -> AsyncIterator[int]:
    """Numbers at a steady rate, however long the callers take."""
    due = asyncio.get_running_loop().time()
    for number in range(int(rate * seconds)):
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due + number / rate):
                await asyncio.Event().wait()
        yield number
