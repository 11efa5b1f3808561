"""All actors of a system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from actors.serve.traffic import Arm
from cluster.names import ARCHIVE, COORDINATOR, GATEWAY, ingest_name, shard_name
from cluster.processes.served_models import ServedModels
from cluster.settings.config import Settings
from cluster.wiring.archive import build_archive
from cluster.wiring.coordinator import build_coordinator
from cluster.wiring.gateway import build_gateway
from cluster.wiring.ingest import build_ingest
from cluster.wiring.shard import start_shard
from cluster.wiring.world import World


def create_actors(
    world: World, settings: Settings, run: str, arms: list[Arm], models: ServedModels
) -> Iterator[tuple[str, Any]]:
    """Start one actor after the other."""

    def actor(name: str, build: Callable[..., Any], *args: Any) -> tuple[str, Any]:
        return name, world.ray.create(name, world.elsewhere(build, settings, *args))

    yield actor(COORDINATOR, build_coordinator, run, arms, models)
    for number in range(settings.serving.shards):
        yield shard_name(number), start_shard(world, settings, models, number, patient=False)
    for number in range(settings.serving.ingests):
        yield actor(ingest_name(number), build_ingest, number)
    if settings.archive.enabled:
        yield actor(ARCHIVE, build_archive)
    yield actor(GATEWAY, build_gateway)
