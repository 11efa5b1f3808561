"""A shard's actor, and what it is made of."""

from __future__ import annotations

import functools
from asyncio import get_running_loop
from typing import Any

from actors.serve.exposure import ExposureLog
from actors.serve.score_ids import ScoreIds
from actors.serve.scoring import ScoringService
from actors.shard.applied import AppliedOffsets
from actors.shard.shard import Shard
from cluster.names import shard_name
from cluster.processes.remote import RemoteCoordinator
from cluster.processes.served_models import ServedModels
from cluster.processes.shard_process import ShardProcess
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.files import snapshots
from cluster.wiring.process import export, new_metrics, reachable, rpc_server
from cluster.wiring.world import World
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc

# Off the event loop: with folding beside it and 4 clients, p99 was 26 to 32 ms on two threads, 28
# to 51 ms on one and 30 to 71 ms inline (a stand-in kernel, 2 busy cores); the hop costs 0.3 ms of
# the median.
SCORING_THREADS = 2
# an exposure of 500 candidates has 7 kB, and a batch for each would cost a request
EXPOSURE_BATCH_BYTES = 256 << 10


async def build_shard(
    world: World, settings: Settings, number: int, models: ServedModels, patient: bool
) -> ShardProcess:
    """One shard, restored and serving;
    a patient one waits for bundles that are those of the system.
    """
    name = shard_name(number)
    metrics = new_metrics(world, settings, name)
    coordinator = RemoteCoordinator(world.ray)
    target = export(world, settings, metrics, "shard", name)
    if patient or world.ray.restarted:
        arms = await models.awaited(metrics, functools.partial(coordinator.join, target))
    else:
        arms = models.load()
    shard = Shard(
        name,
        arms,
        snapshots(world, settings),
        metrics,
        world.clock,
        for_parts.shard_settings(settings, world.scale),
        world.locks,
        world.open_cold,
    )
    applied = AppliedOffsets(get_running_loop())
    shard.on_applied(applied.notify)
    exposures = _exposures(world, settings, metrics)
    service = ScoringService(
        shard=shard,
        arms=arms,
        partitions=settings.topics.partitions,
        limits=for_parts.limits(settings),
        metrics=metrics,
        clock=world.clock,
        executor=world.threads.executor(SCORING_THREADS, "score"),
        applied=applied,
        ids=(ids := ScoreIds()),
        exposures=exposures,
    )
    for arm, bundle in arms.items():
        dates = (bundle.popularity.until, bundle.popularity.old_from)
        metrics.model_info.labels(arm, bundle.version, *dates).set(1)
    process = ShardProcess(
        shard=shard,
        server=rpc_server(
            world,
            settings,
            metrics,
            service.wait_s,
            functools.partial(pb_grpc.add_ScoringServicer_to_server, service),
        ),
        host=reachable(world, settings.serving.host),
        node=world.ray.node,
        coordinator=coordinator,
        target=target,
        clock=world.clock,
        exposures=exposures,
        ids=ids,
        models=models,
    )
    world.host.answer_promptly()
    await process.start()
    return process


def start_shard(
    world: World,
    settings: Settings,
    models: ServedModels,
    number: int,
    node: str = "",
    patient: bool = True,
) -> Any:
    """Start a shard's actor, on `node` if that has room for it, or anywhere."""
    build = world.elsewhere(build_shard, settings, number, models, patient)
    return world.ray.create(shard_name(number), build, node)


def _exposures(world: World, settings: Settings, metrics: Metrics) -> ExposureLog | None:
    if not settings.serving.exposures:
        return None
    open_sink = functools.partial(
        world.kafka.sink, for_parts.access(settings), batch_size=EXPOSURE_BATCH_BYTES
    )
    return ExposureLog(open_sink, topic=settings.topics.exposures, metrics=metrics)
