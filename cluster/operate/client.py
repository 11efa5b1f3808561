"""A client of the gateway, as the command line, the demo and the benchmarks use it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from actors.calls.channels import channel
from actors.errors import ShardUnavailable
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

SERVICE_CONFIG = Path(__file__).parents[2] / "rpc" / "service_config.json"


class Client:
    """Asks one gateway; use it as `async with Client(address) as client`.

    Calls end within `timeout_s` seconds and retry on UNAVAILABLE by the shipped service config;
    what fails after that raises grpc.aio.AioRpcError, whose `google.rpc` details
    `actors.calls.status.details_of` unpacks.
    """

    def __init__(self, address: str, *, timeout_s: float = 1.0) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._channel = channel(
            address, ("grpc.service_config", SERVICE_CONFIG.read_text()), ("grpc.enable_retries", 1)
        )
        self._stub = pb_grpc.ScoringStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    async def connect(self, within_s: float = 5.0) -> None:
        """Return once the gateway can be reached;
        ShardUnavailable if nothing listens `within_s` seconds long.
        """
        await reach(self._channel, self.address, within_s)

    async def score(
        self,
        user: str,
        items: Sequence[str],
        *,
        arm: str = "",
        time_ms: int = 0,
        min_offset: int = 0,
        timeout_s: float | None = None,
    ) -> pb.ScoreResponse:
        """The probability that the user clicks each of `items` now, or at `time_ms`."""
        request = pb.ScoreRequest(
            user=user, items=items, arm=arm, time_ms=time_ms, min_offset=min_offset
        )
        response: pb.ScoreResponse = await self._stub.Score(
            request, timeout=timeout_s or self._timeout_s
        )
        return response

    async def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        arm: str = "",
        time_ms: int = 0,
        min_offset: int = 0,
        timeout_s: float | None = None,
    ) -> pb.RecommendResponse:
        """The best `k` items of the catalogue."""
        request = pb.RecommendRequest(
            user=user,
            k=k,
            exclude_seen=exclude_seen,
            arm=arm,
            time_ms=time_ms,
            min_offset=min_offset,
        )
        response: pb.RecommendResponse = await self._stub.Recommend(
            request, timeout=timeout_s or self._timeout_s
        )
        return response

    async def inspect(self, user: str, *, arm: str = "") -> pb.InspectResponse:
        """What is remembered of the user."""
        request = pb.InspectRequest(user=user, arm=arm)
        response: pb.InspectResponse = await self._stub.Inspect(request, timeout=self._timeout_s)
        return response

    async def routing(self) -> pb.RoutingResponse:
        """Partitions, shards and arms."""
        response: pb.RoutingResponse = await self._stub.Routing(
            pb.RoutingRequest(), timeout=self._timeout_s
        )
        return response

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(grace=None)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def reach(channel: grpc.aio.Channel, address: str, within_s: float = 5.0) -> None:
    """Return once a server answers on the channel;
    ShardUnavailable if nothing listens `within_s` seconds long.
    """
    try:
        async with asyncio.timeout(within_s):
            await channel.channel_ready()
    except TimeoutError:
        raise ShardUnavailable(
            f"nothing answers gRPC at {address} within {within_s:g} s; start the system with "
            "`echorank up`, or give the address of a gateway that runs"
        ) from None
