"""What every scoring call shares: admission, counting, and the mapping of errors to statuses."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import grpc

from actors.calls.admission import Admission, Bounds, Turn
from actors.calls.backlog import PART, too_late
from actors.calls.lateness import Lateness
from actors.calls.retries import NEVER, pushback
from actors.calls.status import Status, status_of
from actors.calls.unread_calls import UnreadCalls
from monitoring.metrics import Metrics

SERVICE = "echorank.v1.Scoring"
ADMIN = "echorank.v1.Admin"

MISSED = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
PENDING_MIN = 64  # for operators, where nothing else is served
HURRY_S = 0.1  # a queue as long as this is looked at before a call is taken in

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Guard = Callable[[Context], AbstractAsyncContextManager[None]]


class RequestInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Admits as many calls as `bounds` allow, counts each by its code,
    and turns errors into statuses.

    While more comes than can be answered in time, calls that would wait too long by `wait_s`, or
    come too late, are refused before their message is read: what a server does for those it takes
    from the others.
    """

    def __init__(
        self, metrics: Metrics, bounds: Bounds, wait_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._metrics = metrics
        self._wait_s = wait_s
        self._room = Admission(metrics, bounds)
        # calls that wait inside gRPC until they are looked at
        self.pending_max = max(bounds.queue_max, PENDING_MIN)
        self._lateness = Lateness()
        self._seen = 0

    def unread(self, server_id: int) -> UnreadCalls:
        """The count of calls to that gRPC server that never come here."""
        return UnreadCalls(self._metrics, server_id, 2 * self.pending_max)

    @property
    def seen(self) -> int:
        """How many calls were looked at, of whatever service."""
        return self._seen

    def drain(self) -> None:
        """Refuse every call from now on; those in flight go on."""
        self._room.drain()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, guarded if it is one of ours. Operators find room in a full queue."""
        self._seen += 1
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if handler is None or service not in {SERVICE, ADMIN}:
            return handler  # for none gRPC answers UNIMPLEMENTED, however odd the path is
        codec = handler.request_deserializer, handler.response_serializer
        if service == SERVICE and not handler.response_streaming and self._is_pressed():
            guard = functools.partial(self._guard, method, self._room.question)
            return grpc.stream_stream_rpc_method_handler(
                self._sifted(method, guard, handler.unary_unary), *codec
            )
        if handler.request_streaming:
            guard = functools.partial(self._guard, method, self._room.stream)
            return grpc.stream_stream_rpc_method_handler(
                _turns(guard, handler.stream_stream, self._room), *codec
            )
        guard = functools.partial(
            self._guard, method, self._room.question if service == SERVICE else self._let_in
        )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _stream(guard, handler.unary_stream), *codec
            )
        return grpc.unary_unary_rpc_method_handler(_unary(guard, handler.unary_unary), *codec)

    def _is_pressed(self) -> bool:
        return self._lateness.looming() or self._room.full() or self._wait_s() > HURRY_S

    def _sifted(
        self, method: str, guard: Guard, call: Callable[[Any, Context], Awaitable[Any]]
    ) -> Any:
        """A unary call, looked at before its message is read;
        a stream of one message is the same on the wire.
        """

        async def sifted(_asked: Any, context: Context) -> None:
            left_s = context.time_remaining()
            takes_s = max(self._wait_s(), self._lateness.usual_s())
            if left_s is not None and takes_s > PART * left_s:
                self._lateness.refused()
                status = _too_late(round(takes_s, 1))
                self._finished(method, status.code)
                await context.abort(status.code, status.message, status.metadata)
            async with guard(context):
                await context.write(await call(await context.read(), context))

        return sifted

    @asynccontextmanager
    async def _guard(
        self, method: str, admitted: Callable[[], AbstractContextManager[None]], context: Context
    ) -> AsyncIterator[None]:
        began = time.perf_counter()
        try:
            with admitted():
                yield
        except asyncio.CancelledError:
            self._finished(method, _why_cancelled(context))
            self._lateness.missed()
            raise
        except Exception as error:
            status = status_of(error)
            if status.code is grpc.StatusCode.INTERNAL:
                log.exception("%s failed", method)
            elif status.code in MISSED:
                self._lateness.missed()
            self._finished(method, status.code)
            again = self._again(context) if status.code is grpc.StatusCode.UNAVAILABLE else ()
            await context.abort(status.code, status.message, (*status.metadata, *again))
        else:
            self._finished(method, grpc.StatusCode.OK)
            if admitted == self._room.question:
                self._lateness.answered(time.perf_counter() - began)

    def _again(self, context: Context) -> tuple[tuple[str, str], ...]:
        """When the client may try again: never while there is more to do than can be done."""
        return NEVER if self._room.full() or self._wait_s() > HURRY_S else pushback(context)

    def _finished(self, method: str, code: grpc.StatusCode) -> None:
        """Count a call, before the caller hears of its end."""
        self._metrics.requests_total.labels(method, code.name).inc()

    @contextmanager
    def _let_in(self) -> Iterator[None]:
        self._room.check_not_draining()
        yield


@functools.lru_cache(maxsize=64)
def _too_late(takes_s: float) -> Status:
    """Made once for many: whoever is refused costs those that are answered."""
    return status_of(too_late(takes_s))


def _unary(guard: Guard, call: Callable[[Any, Context], Awaitable[Any]]) -> Any:
    async def guarded(request: Any, context: Context) -> Any:
        async with guard(context):
            return await call(request, context)

    return guarded


def _stream(guard: Guard, call: Callable[[Any, Context], AsyncIterator[Any]]) -> Any:
    """For a stream of answers to one request."""

    async def guarded(asked: Any, context: Context) -> AsyncIterator[Any]:
        async with guard(context):
            async for response in call(asked, context):
                yield response

    return guarded


def _turns(
    guard: Guard, call: Callable[[Any, Context], AsyncIterator[Any]], room: Admission
) -> Any:
    """For a stream of answers to a stream of questions:
    one is in flight from when it came until its answer is sent.
    """

    async def guarded(asked: Any, context: Context) -> AsyncIterator[Any]:
        async with guard(context):
            turn = Turn(room)
            try:
                async for response in call(room.each(aiter(asked), turn), context):
                    turn.end()
                    yield response
            finally:
                turn.end()

    return guarded


def _why_cancelled(context: Context) -> grpc.StatusCode:
    left = context.time_remaining()
    if left is not None and left <= 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED
