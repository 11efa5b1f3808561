"""The one door for clients: picks the arm, finds the shard, hands the bytes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.message import Message

from actors.deadline import Deadline
from actors.errors import ShardUnavailable
from actors.exposure import PROPENSITY_METADATA
from actors.interceptor import SERVICE, Context
from actors.limits import RequestLimits
from actors.partitioner import partition_of
from actors.traffic import Arm, TrafficSplit
from rpc import echorank_pb2 as pb

ARM_METADATA = "x-echorank-arm"
Metadata = tuple[tuple[str, str], ...]
REROUTE_WAIT_S = 0.5  # a hand-over publishes its table sooner; a crash takes longer, then the client's retry is better
CLOSE_GRACE_S = 30.0  # calls to a shard that has moved on may still be answered


class Routes(Protocol):
    """A routing table, as far as the gateway looks at it."""

    @property
    def partitions(self) -> int:
        """How many partitions there are."""

    @property
    def arms(self) -> Sequence[Arm]:
        """The deployed arms."""

    def address_of(self, partition: int) -> str:
        """host:port of the owner's gRPC server; empty without an owner."""

    def addresses(self) -> set[str]:
        """host:port of every shard."""

    def to_proto(self) -> pb.RoutingResponse:
        """The table for clients."""


class _Method(NamedTuple):
    name: str
    request: type[Any]


SCORE = _Method("Score", pb.ScoreRequest)
RECOMMEND = _Method("Recommend", pb.RecommendRequest)
INSPECT = _Method("Inspect", pb.InspectRequest)


class Gateway:
    """Forwards scoring calls to the shard that owns the user's partition.

    Responses pass through unread. The caller's deadline goes along; where a shard answers UNAVAILABLE, its
    successor is asked once, if a newer routing table names one in time.
    """

    def __init__(self, *, limits: RequestLimits, salt: str, message_bytes_max: int) -> None:
        self._limits, self._salt, self._message_bytes_max = limits, salt, message_bytes_max
        self._routes: Routes | None = None
        self._split = TrafficSplit((), salt)
        self._newer = asyncio.Event()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service; requests and responses stay bytes."""
        unary = grpc.unary_unary_rpc_method_handler
        methods = {method.name: unary(self._forwarder(method)) for method in (SCORE, RECOMMEND, INSPECT)}
        methods["ScoreStream"] = grpc.stream_stream_rpc_method_handler(self._score_stream)
        methods["Routing"] = unary(self._routing)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    def follow(self, routes: Routes) -> None:
        """Use this table from now on, and close channels to shards that it no longer names."""
        self._routes, self._split = routes, TrafficSplit(routes.arms, self._salt)
        self._newer.set()
        self._newer = asyncio.Event()
        for address in self._channels.keys() - routes.addresses():
            closing = asyncio.create_task(self._channels.pop(address).close(grace=CLOSE_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close(grace=None)
        self._channels.clear()
        await asyncio.gather(*self._closing)

    def _forwarder(self, method: _Method) -> Callable[[bytes, Context], Any]:
        async def forward(raw: bytes, context: Context) -> bytes:
            return await self._forward(method, raw, context)

        return forward

    async def _score_stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for raw in requests:  # neighbours on a stream may belong to different shards
            yield await self._forward(SCORE, raw, context)

    async def _routing(self, raw: bytes, context: Context) -> bytes:  # noqa: ARG002  # the request is empty
        return self._known_routes().to_proto().SerializeToString()

    async def _forward(self, method: _Method, raw: bytes, context: Context) -> bytes:
        deadline = Deadline.of(context, self._limits.deadline_default_s)
        request = method.request.FromString(raw)
        self._limits.check_user(request.user)
        routes = self._known_routes()
        raw, metadata = self._with_arm(request, raw, context)
        partition = partition_of(request.user, routes.partitions)
        try:
            return await self._ask(routes.address_of(partition), partition, method, raw, metadata, deadline)
        except (ShardUnavailable, grpc.aio.AioRpcError) as error:
            if isinstance(error, grpc.aio.AioRpcError) and error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            address = await self._newer_address(partition, routes, deadline)
            if not address:
                raise _unavailable(partition, error) from error
            return await self._ask(address, partition, method, raw, metadata, deadline)

    def _with_arm(self, request: Any, raw: bytes, context: Context) -> tuple[bytes, Metadata]:
        """The request with its arm, and the metadata that say by which chance the split chose it."""
        named = request.arm or dict(context.invocation_metadata() or ()).get(ARM_METADATA, "")
        chosen = self._split.choose(request.user, str(named))
        if chosen == request.arm:
            return raw, ()
        override: Message = type(request)(arm=chosen)
        raw += override.SerializeToString()  # of a scalar field given twice, the last counts
        return raw, () if named else ((PROPENSITY_METADATA, repr(self._split.propensity(chosen))),)

    async def _ask(
        self, address: str, partition: int, method: _Method, raw: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        if not address:
            raise ShardUnavailable(f"partition {partition} has no owner yet; retry when the health check says SERVING")
        deadline.check("before a shard was asked")
        call = self._channel(address).unary_unary(f"/{SERVICE}/{method.name}", None, None)
        answer: bytes = await call(raw, timeout=deadline.left_s(), metadata=metadata)
        return answer

    async def _newer_address(self, partition: int, used: Routes, deadline: Deadline) -> str:
        """The owner's address by a newer table than `used`; "" if no other one arrives in time."""
        stale = used.address_of(partition)
        try:
            async with asyncio.timeout(min(REROUTE_WAIT_S, deadline.wait_s())):
                while (address := self._known_routes().address_of(partition)) in (stale, ""):
                    await self._newer.wait()
        except TimeoutError:
            return ""
        return address

    def _known_routes(self) -> Routes:
        if self._routes is None:
            raise ShardUnavailable("the gateway has no routing table yet; retry when the health check says SERVING")
        return self._routes

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(
                address,
                options=[
                    ("grpc.max_receive_message_length", self._message_bytes_max),
                    ("grpc.max_send_message_length", self._message_bytes_max),
                    ("grpc.initial_reconnect_backoff_ms", 50),
                    ("grpc.max_reconnect_backoff_ms", 1000),
                    ("grpc.enable_retries", 0),  # this class retries, by a new table
                ],
            )
        return self._channels[address]


def _unavailable(partition: int, error: Exception) -> Exception:
    if isinstance(error, ShardUnavailable):
        return error
    assert isinstance(error, grpc.aio.AioRpcError)
    return ShardUnavailable(
        f"the shard of partition {partition} does not answer ({error.details()}); it restarts or moves: retry"
    )
