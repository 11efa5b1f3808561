"""Calls that gRPC ends before anybody looks at them are counted as their callers see them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import grpc
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import SERVICE, RequestInterceptor
from actors.calls.server import RpcServer
from monitoring.metrics import Metrics
from tests.waiting import PATIENCE_S, until

CALLS = 2000


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

        def counted(method: str, code: str) -> float:
            return (
                metrics.registry.get_sample_value(
                    "echorank_requests_total", {"method": method, "code": code}
                )
                or 0.0
            )

        # a look counts them, or the next one
        await until(lambda: counted("unread", "CANCELLED") == seen["CANCELLED"])
        await server.stop(0)
    assert counted("unread", "CANCELLED") == seen["CANCELLED"]
    assert counted("Score", "OK") == seen["OK"]
