"""One gRPC server: the services of its process, health and reflection on one port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from actors.calls.interceptor import SERVICE, RequestInterceptor
from actors.calls.unread_calls import server_ids
from actors.errors import ConfigError
from monitoring.addresses import joined
from rpc import echorank_pb2 as _registers_the_service_for_reflection  # noqa: F401

# Clients of Java, Node and load balancers ping idle connections every 10 to 30 s, and must not be
# thrown out for it.
PINGS = (
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
)
COUNT_S = 1.0
log = logging.getLogger(__name__)
ServingStatus = health_pb2.HealthCheckResponse


class RpcServer:
    """A `grpc.aio` server that is NOT_SERVING until told otherwise,
    overall and for each service.
    """

    def __init__(
        self,
        add_service: Callable[[grpc.aio.Server], None],
        requests: RequestInterceptor,
        message_bytes_max: int,
        services: Sequence[str] = (SERVICE,),
    ) -> None:
        self._requests = requests
        self._services = tuple(services)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in its stubs
        others = server_ids()
        self._server = grpc.aio.server(
            interceptors=[requests],
            options=[
                # a port in use must be an error, not a silent split of the traffic
                ("grpc.so_reuseport", 0),
                *PINGS,
                ("grpc.max_receive_message_length", message_bytes_max),
                ("grpc.max_send_message_length", message_bytes_max),
                ("grpc.enable_channelz", 1),  # it counts what it ends, see UnreadCalls
                ("grpc.server.max_pending_requests", requests.pending_max),  # beyond this some,
                # and then all, end
                ("grpc.server.max_pending_requests_hard_limit", 2 * requests.pending_max),
            ],
        )
        [server_id] = server_ids() - others
        self._unread = requests.unread(server_id)
        self._stopped = asyncio.Event()
        self._count: asyncio.Task[None] | None = None
        add_service(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    async def start(self, host: str, port: int) -> str:
        """Listen on `host`:`port` (0: any free one) and return the address as host:port.

        Raises:
            ConfigError: the port is in use, or the host is not this machine's.
        """
        try:
            bound = self._server.add_insecure_port(joined(host, port))
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen on {joined(host, port)}: the port is in use or the host is no "
                "address of this machine; stop what listens there, or set serving.host and "
                "serving.port"
            ) from error
        await self.set_serving(False)
        await self._server.start()
        self._count = asyncio.create_task(self._count_unread())
        return joined(host, bound)

    async def set_serving(self, serving: bool) -> None:
        """Answer health checks with SERVING or NOT_SERVING."""
        status = ServingStatus.SERVING if serving else ServingStatus.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Turn NOT_SERVING, refuse new calls, give those in flight `grace_s` seconds, and close."""
        await self._health.enter_graceful_shutdown()
        self._requests.drain()
        self._stopped.set()
        if self._count is not None:
            await self._count  # gRPC forgets a server's figures when it stops
        await self._server.stop(grace_s)

    async def _count_unread(self) -> None:
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), COUNT_S)
            try:
                self._unread.look(self._requests.seen)
            except ValueError:
                log.exception("calls that gRPC ends by itself are not counted any more")
                return
