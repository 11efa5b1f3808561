"""The gateway's process: one gRPC port and one HTTP port that follow the routing table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from actors.calls.server import RpcServer
from actors.serve.gateway import Gateway
from cluster.coordinator.ports import CoordinatorForGateways
from cluster.coordinator.routing import RoutingTable
from monitoring.discovery import Target
from monitoring.metrics import Metrics


class GatewayProcess:
    """SERVING while every partition has an owner or a standby that lives and has caught up."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        server: RpcServer,
        host: str,
        port: int,
        coordinator: CoordinatorForGateways,
        metrics: Metrics,
    ) -> None:
        self._gateway = gateway
        self._server = server
        self._host = host
        self._port = port
        self._coordinator = coordinator
        self._metrics = metrics
        self._table: RoutingTable | None = None
        self._draining = False

    def methods(self) -> Sequence[Callable[..., Any]]:
        """What other processes may call."""
        return (self.stop,)

    async def start(self, target: Target) -> str:
        """Listen, and become a target of Prometheus; the gRPC address."""
        address = await self._server.start(self._host, self._port)
        await self._coordinator.join(target)
        return address

    async def run(self) -> None:
        """Follow the routing table, for ever."""
        await self._coordinator.follow(self._follow)

    async def stop(self, grace_s: float) -> None:
        """Turn NOT_SERVING, refuse new calls, finish those in flight."""
        self._draining = True
        await self._server.stop(grace_s)
        await self._gateway.close()

    def table(self) -> RoutingTable | None:
        """The newest routing table; None before the first."""
        return self._table

    def targets(self) -> Sequence[Target]:
        """Every process with metrics."""
        return self._table.targets if self._table else ()

    def trouble(self) -> str | None:
        """Why health checks fail; None while they pass."""
        if self._draining:
            return "the gateway is draining"
        if self._table is None:
            return "the gateway has no routing table yet"
        if waiting := self._table.uncovered():
            return (
                f"partitions {waiting} have no live owner, or one that is still catching up, "
                "and no standby"
            )
        return None

    async def _follow(self, table: RoutingTable) -> None:
        self._table = table
        self._gateway.follow(table)
        for arm in table.arms:
            self._metrics.arm_weight.labels(arm.name).set(arm.weight / 10_000)
        await self._server.set_serving(self.trouble() is None)
