"""The coordinator, with what its predecessor left behind."""

from __future__ import annotations

import functools

from actors.serve.traffic import Arm
from cluster.coordinator.assignment_files import AssignmentFiles
from cluster.coordinator.coordinator import Coordinator
from cluster.names import COORDINATOR
from cluster.processes.coordinator_process import CoordinatorProcess
from cluster.processes.served_models import ServedModels
from cluster.processes.shard_actors import ShardActors
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.process import export, new_metrics
from cluster.wiring.shard import start_shard
from cluster.wiring.world import World


async def build_coordinator(
    world: World, settings: Settings, run: str, arms: list[Arm], models: ServedModels
) -> CoordinatorProcess:
    """The coordinator, with what its predecessor left behind."""
    metrics = new_metrics(world, settings, COORDINATOR)
    coordinator = Coordinator(
        run=run,
        partitions=settings.topics.partitions,
        shards=settings.serving.shards,
        arms=arms,
        memory=AssignmentFiles(settings.state.directory, world.open_root, world.token),
        clock=world.clock,
        settings=for_parts.coordinator_settings(settings, world.scale),
        restarted=world.ray.restarted,
    )
    world.host.export_control_store(metrics)
    coordinator.join(export(world, settings, metrics, "coordinator", COORDINATOR))
    shards = ShardActors(world.ray, functools.partial(start_shard, world, settings, models))
    return CoordinatorProcess(coordinator, shards)
