"""The one door for clients: picks the arm, finds the shard, hands the bytes through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.message import Message

from actors.calls.backlog import Backlog
from actors.calls.channels import OpenChannel, channel
from actors.calls.deadline import Deadline
from actors.calls.interceptor import SERVICE, Context
from actors.calls.retries import is_last
from actors.clicks.partitioner import partition_of
from actors.errors import DeadlineExceeded, Overloaded, ShardUnavailable
from actors.serve.buckets import Runs
from actors.serve.exposure import PROPENSITY_METADATA, propensity_of
from actors.serve.limits import RequestLimits
from actors.serve.traffic import Arm, TrafficSplit
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb

ARM_METADATA = "x-echorank-arm"
Metadata = tuple[tuple[str, str], ...]
# a hand-over publishes its table sooner; a crash takes longer, then the client's retry is better
REROUTE_WAIT_S = 0.1
AGAIN_S = 0.25  # so often a call asks again that waits for a shard to come back
OUTLAST_MIN_S = 0.02  # with less time left nothing would arrive
OUTLASTING_MAX = 128  # calls that wait so: few enough to leave the others room
# ten times what a score may take: a shard that is silent so long hangs, or has no use for more work
HEDGE_S = 0.15
CLOSE_GRACE_S = 30.0  # calls to a shard that has moved on may still be answered
SHARD_WIDTH = 8  # calls at one shard at a time: what its threads compute, and as many on the way


class Routes(Protocol):
    """A routing table, as far as the gateway looks at it."""

    @property
    def partitions(self) -> int:
        """How many partitions there are."""

    @property
    def arms(self) -> Sequence[Arm]:
        """The deployed arms."""

    @property
    def buckets(self) -> Runs:
        """Which arm has which users; empty if that was never said."""

    def ways(self, partition: int) -> list[str]:
        """host:port of the gRPC servers that may answer, best first."""

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


class _Question(NamedTuple):
    partition: int
    path: str  # of the method
    raw: bytes
    metadata: Metadata
    deadline: Deadline
    waits: bool  # for a click, which takes none of the shard's time


class Gateway:
    """Forwards scoring calls to the shard that owns the user's partition.

    Responses pass through unread, and the caller's deadline goes along. Where the owner answers
    UNAVAILABLE, or nothing for `HEDGE_S`, the standby is asked, too, and the first good answer
    counts; a standby marks its answers stale. Where nobody is left, a newer routing table may name
    somebody within `REROUTE_WAIT_S`; else the call fails as UNAVAILABLE with a delay, so that the
    caller can still retry within its deadline. A caller's last try waits here.
    """

    def __init__(
        self,
        *,
        limits: RequestLimits,
        salt: str,
        message_bytes_max: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        open_channel: OpenChannel = channel,
    ) -> None:
        self._limits = limits
        self._salt = salt
        self._message_bytes_max = message_bytes_max
        self._metrics = metrics
        self._clock = clock
        self._open_channel = open_channel
        self._routes: Routes | None = None
        self._split = TrafficSplit((), salt)
        self._newer = asyncio.Event()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._backlogs: dict[str, Backlog] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._outlasting = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service; requests and responses stay bytes."""
        unary = grpc.unary_unary_rpc_method_handler
        methods = {
            method.name: unary(self._forwarder(method)) for method in (SCORE, RECOMMEND, INSPECT)
        }
        methods["ScoreStream"] = grpc.stream_stream_rpc_method_handler(self._score_stream)
        methods["Routing"] = unary(self._routing)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    def follow(self, routes: Routes) -> None:
        """Use this table from now on, and close channels to shards that it no longer names."""
        if self._routes is None or (self._routes.arms, self._routes.buckets) != (
            routes.arms,
            routes.buckets,
        ):
            self._split = TrafficSplit(routes.arms, self._salt, routes.buckets)
        self._routes = routes
        self._newer.set()
        self._newer = asyncio.Event()
        self._backlogs = {address: self._backlog(address) for address in routes.addresses()}
        for address in self._channels.keys() - routes.addresses():
            closing = asyncio.create_task(self._channels.pop(address).close(grace=CLOSE_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def wait_s(self) -> float:
        """Seconds that a question takes at the least,
        whichever shard it is for; 0 where one has room.
        """
        return min((backlog.wait_s() for backlog in self._backlogs.values()), default=0.0)

    async def close(self) -> None:
        """Close every channel."""
        for each in self._channels.values():
            await each.close(grace=None)
        self._channels.clear()
        await asyncio.gather(*self._closing)

    def _forwarder(self, method: _Method) -> Callable[[bytes, Context], Any]:
        async def forward(raw: bytes, context: Context) -> bytes:
            return await self._forward(method, raw, context)

        return forward

    async def _score_stream(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        async for raw in requests:  # neighbours on a stream may belong to different shards
            yield await self._forward(SCORE, raw, context)

    async def _routing(self, raw: bytes, context: Context) -> bytes:  # noqa: ARG002  # the request is empty
        return self._known_routes().to_proto().SerializeToString()

    async def _forward(self, method: _Method, raw: bytes, context: Context) -> bytes:
        deadline = Deadline.of(context, self._limits.deadline_default_s, self._clock)
        request = method.request.FromString(raw)
        self._limits.check_user(request.user)
        routes = self._known_routes()
        raw, metadata = self._with_arm(request, raw, context)
        partition = partition_of(request.user, routes.partitions)
        waits = getattr(request, "min_offset", 0) > 0
        question = _Question(partition, f"/{SERVICE}/{method.name}", raw, metadata, deadline, waits)
        ways = routes.ways(partition)
        try:
            return await self._answer(ways, question)
        except (ShardUnavailable, grpc.aio.AioRpcError) as error:
            if not _is_unavailable(error):
                raise
            if is_last(context) and self._outlasting < OUTLASTING_MAX:
                return await self._outlast(question, error)
            ways = await self._newer_ways(partition, ways, deadline)
            if not ways:
                raise _unavailable(partition, error) from error
            return await self._answer(ways, question)

    async def _outlast(self, question: _Question, error: Exception) -> bytes:
        """The answer of whoever comes back in time:
        a client that has tried so often does not ask again.
        """
        self._outlasting += 1
        try:
            while (wait_s := question.deadline.wait_s()) > OUTLAST_MIN_S:
                await self._next_table(min(wait_s, AGAIN_S))
                try:
                    return await self._answer(
                        self._known_routes().ways(question.partition), question
                    )
                except (ShardUnavailable, grpc.aio.AioRpcError) as again:
                    if not _is_unavailable(again):
                        raise
                    error = again
        finally:
            self._outlasting -= 1
        raise DeadlineExceeded(
            f"{_unavailable(question.partition, error)} (it did not come back in time)"
        ) from error

    async def _next_table(self, within_s: float) -> None:
        """Return with the next routing table, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._newer.wait()

    def _with_arm(self, request: Any, raw: bytes, context: Context) -> tuple[bytes, Metadata]:
        """The request with its arm, and the metadata that say by which chance it was chosen.

        Who names the arm may say so in metadata; where the split chooses, it alone knows.
        """
        given = propensity_of(context)
        named = request.arm or dict(context.invocation_metadata() or ()).get(ARM_METADATA, "")
        chosen = self._split.choose(request.user, str(named))
        metadata = (
            (PROPENSITY_METADATA, repr(given if named else self._split.propensity(chosen))),
        )
        if chosen == request.arm:
            return raw, metadata
        override: Message = type(request)(arm=chosen)
        raw += override.SerializeToString()  # of a scalar field given twice, the last counts
        return raw, metadata

    async def _answer(self, ways: Sequence[str], question: _Question) -> bytes:
        """The first good answer. The next one is asked when all before are
        unavailable, or silent for `HEDGE_S`.
        """
        if not ways:
            raise ShardUnavailable(
                f"partition {question.partition} has no owner yet; retry when the health check "
                "says SERVING"
            )
        if len(ways) == 1:
            return await self._ask(ways[0], question)
        waiting: set[asyncio.Task[bytes]] = set()
        try:
            for number, address in enumerate(ways, start=1):
                waiting.add(task := asyncio.create_task(self._ask(address, question)))
                task.add_done_callback(_hear)
                may_ask = number < len(ways) and self._backlog(ways[number]).wait_s() < HEDGE_S
                answer = await self._first(waiting, HEDGE_S if may_ask else None)
                if isinstance(answer, bytes):
                    return answer
                if answer is not None and not _may_pass_on(answer):
                    raise answer
                if number < len(ways):
                    self._metrics.second_asked_total.labels(_why(answer)).inc()
            assert isinstance(answer, Exception)
            raise answer
        finally:
            for task in waiting:
                task.cancel()

    async def _first(
        self, waiting: set[asyncio.Task[bytes]], patience_s: float | None
    ) -> bytes | Exception | None:
        """The first good answer of those that `waiting` loses as they end,
        else the last failure; None if one hangs.
        """
        failure: Exception | None = None
        while waiting:
            done, _ = await asyncio.wait(
                waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return None
            waiting -= done
            for task in done:
                try:
                    return task.result()
                except (ShardUnavailable, Overloaded, grpc.aio.AioRpcError) as error:
                    failure = error
        return failure

    async def _ask(self, address: str, question: _Question) -> bytes:
        question.deadline.check("before a shard was asked")
        if question.waits:
            return await self._call(address, question)
        async with self._backlog(address).place(question.deadline):
            return await self._call(address, question)

    async def _call(self, address: str, question: _Question) -> bytes:
        call = self._channel(address).unary_unary(question.path, None, None)
        answer: bytes = await call(
            question.raw, timeout=question.deadline.left_s(), metadata=question.metadata
        )
        return answer

    def _backlog(self, address: str) -> Backlog:
        return self._backlogs.get(address) or Backlog(SHARD_WIDTH, self._clock)

    async def _newer_ways(
        self, partition: int, tried: Sequence[str], deadline: Deadline
    ) -> list[str]:
        """Who else may answer by a newer table; empty if that names nobody in time."""
        try:
            async with asyncio.timeout(min(REROUTE_WAIT_S, deadline.wait_s())):
                while not (
                    ways := [
                        way for way in self._known_routes().ways(partition) if way not in tried
                    ]
                ):
                    await self._newer.wait()
        except TimeoutError:
            return []
        return ways

    def _known_routes(self) -> Routes:
        if self._routes is None:
            raise ShardUnavailable(
                "the gateway has no routing table yet; retry when the health check says SERVING"
            )
        return self._routes

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = self._open_channel(
                address,
                ("grpc.max_receive_message_length", self._message_bytes_max),
                ("grpc.max_send_message_length", self._message_bytes_max),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.enable_retries", 0),  # this class retries, by a new table
            )
        return self._channels[address]


def _hear(task: asyncio.Task[bytes]) -> None:
    """Take note of how a question ended, also of one that lost:
    asyncio complains of errors that nobody heard.
    """
    if not task.cancelled():
        task.exception()


def _why(answer: Exception | None) -> str:
    """In a word, why a second shard is asked."""
    if answer is None:
        return "silent"
    return "busy" if isinstance(answer, Overloaded) else "unavailable"


def _may_pass_on(error: Exception) -> bool:
    """Whether the next shard may be asked: this one was not, for want of room, or is not there."""
    return isinstance(error, Overloaded) or _is_unavailable(error)


def _is_unavailable(error: Exception) -> bool:
    return (
        not isinstance(error, grpc.aio.AioRpcError) or error.code() is grpc.StatusCode.UNAVAILABLE
    )


def _unavailable(partition: int, error: Exception) -> Exception:
    if isinstance(error, ShardUnavailable):
        return error
    assert isinstance(error, grpc.aio.AioRpcError)
    return ShardUnavailable(
        f"the shard of partition {partition} does not answer ({error.details()}); it restarts or "
        "moves: retry"
    )
