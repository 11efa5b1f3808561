"""What every process has: logs, metrics, and a server if it answers requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from actors.calls.interceptor import ADMIN, SERVICE, RequestInterceptor
from actors.calls.server import RpcServer
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.world import World
from monitoring.addresses import WILDCARDS, bare
from monitoring.discovery import ActorKind, Target
from monitoring.metrics import Metrics


def reachable(world: World, host: str) -> str:
    """An address by which other nodes reach this one where `host`
    means all addresses, else `host`.
    """
    return world.host.address() if bare(host) in WILDCARDS else host


def export(
    world: World, settings: Settings, metrics: Metrics, kind: ActorKind, name: str, **options: Any
) -> Target:
    """Serve the metrics as long as the process lives."""
    host = settings.monitoring.host
    address = world.host.export(metrics, host, reachable(world, host), options)
    return Target(kind=kind, name=name, address=address)


def new_metrics(world: World, settings: Settings, actor: str) -> Metrics:
    """Logging and metrics of a process, which begins here."""
    world.host.set_up_logs(settings.monitoring, actor)
    return Metrics(CollectorRegistry())


def rpc_server(
    world: World,
    settings: Settings,
    metrics: Metrics,
    wait_s: Callable[[], float],
    *add_services: Callable[[Any], None],
) -> RpcServer:
    """A server of the scoring service and,
    if its way to be added is given, of the admin service.
    """

    def add(server: Any) -> None:
        for add_service in add_services:
            add_service(server)

    requests = RequestInterceptor(metrics, for_parts.bounds(settings), wait_s)
    names = (SERVICE, ADMIN)[: len(add_services)]
    return world.rpc.server(add, requests, settings.serving.message_bytes_max, names)
