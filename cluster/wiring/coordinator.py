"""The coordinator, with what its predecessor left behind."""

from __future__ import annotations

import functools

import ray

from actors.clock import SystemClock
from actors.serve.traffic import Arm
from cluster.coordinator.assignment_files import AssignmentFiles
from cluster.coordinator.coordinator import Coordinator
from cluster.names import COORDINATOR
from cluster.processes.coordinator_process import CoordinatorProcess
from cluster.processes.ray_calls import RealRay
from cluster.processes.served_models import ServedModels
from cluster.processes.shard_actors import ShardActors
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.process import export, new_metrics
from cluster.wiring.shard import start_shard
from monitoring.control_store import ControlStore


async def build_coordinator(
    settings: Settings, run: str, arms: list[Arm], models: ServedModels
) -> CoordinatorProcess:
    """The coordinator, with what its predecessor left behind."""
    metrics = new_metrics(settings, COORDINATOR)
    port = RealRay(settings.ray.namespace)
    coordinator = Coordinator(
        run=run,
        partitions=settings.topics.partitions,
        shards=settings.serving.shards,
        arms=arms,
        memory=AssignmentFiles(settings.state.directory),
        clock=SystemClock(),
        settings=for_parts.coordinator_settings(settings),
        restarted=port.restarted,
    )
    ControlStore(ray.get_runtime_context().get_session_name()).export(metrics)
    coordinator.join(export(settings, metrics, "coordinator", COORDINATOR))
    shards = ShardActors(port, functools.partial(start_shard, settings, models))
    return CoordinatorProcess(coordinator, shards)
