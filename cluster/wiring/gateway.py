"""The gateway, listening."""

from __future__ import annotations

from actors.serve.gateway import Gateway
from cluster.names import GATEWAY
from cluster.operate.admin import Admin
from cluster.processes.gateway_process import GatewayProcess
from cluster.processes.remote import RemoteCoordinator, RemoteReplicas
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.erasure import build_erasure
from cluster.wiring.process import export, new_metrics, rpc_server
from cluster.wiring.world import World


async def build_gateway(world: World, settings: Settings) -> GatewayProcess:
    """The gateway, listening."""
    metrics = new_metrics(world, settings, GATEWAY)
    message_bytes_max = settings.serving.message_bytes_max
    gateway = Gateway(
        limits=for_parts.limits(settings),
        salt=settings.ray.namespace,
        message_bytes_max=message_bytes_max,
        metrics=metrics,
        clock=world.clock.monotonic,
        open_channel=world.rpc.open_channel,
    )
    coordinator = RemoteCoordinator(world.ray)
    admin = Admin(
        coordinator=coordinator,
        replicas=RemoteReplicas(world.ray),
        table=lambda: process.table(),  # noqa: PLW0108 (made below)
        erase=build_erasure(world, settings).erase,
        token=settings.serving.admin_token,
    )
    process = GatewayProcess(
        gateway=gateway,
        server=rpc_server(world, settings, metrics, gateway.wait_s, gateway.add_to, admin.add_to),
        host=settings.serving.host,
        port=settings.serving.port,
        coordinator=coordinator,
        metrics=metrics,
    )
    sites = {
        "port": settings.monitoring.port,
        "targets": process.targets,
        "health": process.trouble,
    }
    target = export(world, settings, metrics, "gateway", GATEWAY, **sites)
    world.host.answer_promptly()
    await process.start(target)
    return process
