"""What every scoring call shares: admission, counting, and the mapping of errors to statuses."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import grpc

from actors.admission import Admission, Bounds, Turn
from actors.status import status_of
from monitoring.metrics import Metrics

SERVICE, ADMIN = "echorank.v1.Scoring", "echorank.v1.Admin"

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Guard = Callable[[Context], AbstractAsyncContextManager[None]]


class RequestInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Admits as many calls as `bounds` allow, counts each by its code, and turns errors into statuses."""

    def __init__(self, metrics: Metrics, bounds: Bounds) -> None:
        self._metrics = metrics
        self._room = Admission(metrics, bounds)

    def drain(self) -> None:
        """Refuse every call from now on; those in flight go on."""
        self._room.drain()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, guarded if it is one of ours. Operators find room in a full queue."""
        handler = await continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/")
        if handler is None or service not in {SERVICE, ADMIN}:
            return handler
        codec = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            guard = functools.partial(self._guard, method, self._room.stream)
            return grpc.stream_stream_rpc_method_handler(_turns(guard, handler.stream_stream, self._room), *codec)
        guard = functools.partial(self._guard, method, self._room.question if service == SERVICE else self._let_in)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_stream(guard, handler.unary_stream), *codec)
        return grpc.unary_unary_rpc_method_handler(_unary(guard, handler.unary_unary), *codec)

    @asynccontextmanager
    async def _guard(
        self, method: str, admitted: Callable[[], AbstractContextManager[None]], context: Context
    ) -> AsyncIterator[None]:
        try:
            with admitted():
                yield
        except asyncio.CancelledError:
            self._finished(method, _why_cancelled(context))
            raise
        except Exception as error:
            status = status_of(error)
            if status.code is grpc.StatusCode.INTERNAL:
                log.exception("%s failed", method)
            self._finished(method, status.code)
            await context.abort(status.code, status.message, status.metadata)
        else:
            self._finished(method, grpc.StatusCode.OK)

    def _finished(self, method: str, code: grpc.StatusCode) -> None:
        """Count a call, before the caller hears of its end."""
        self._metrics.requests_total.labels(method, code.name).inc()

    @contextmanager
    def _let_in(self) -> Iterator[None]:
        self._room.check_not_draining()
        yield


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


def _turns(guard: Guard, call: Callable[[Any, Context], AsyncIterator[Any]], room: Admission) -> Any:
    """For a stream of answers to a stream of questions: one is in flight from when it came until its answer is sent."""

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
