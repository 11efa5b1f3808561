"""A shard's actor, and what it is made of."""

from __future__ import annotations

import functools
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from actors.clock import SystemClock
from actors.serve.exposure import ExposureLog
from actors.serve.score_ids import ScoreIds
from actors.serve.scoring import ScoringService
from actors.shard.applied import AppliedOffsets
from actors.shard.shard import Shard
from cluster.kafka.clients import KafkaSink
from cluster.names import shard_name
from cluster.processes.promptness import answer_promptly
from cluster.processes.ray_calls import RealRay
from cluster.processes.remote import RemoteCoordinator
from cluster.processes.served_models import ServedModels
from cluster.processes.shard_process import ShardProcess
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.files import snapshots
from cluster.wiring.process import export, new_metrics, reachable, rpc_server
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc

# Off the event loop: with folding beside it and 4 clients, p99 was 26 to 32 ms on two threads, 28
# to 51 ms on one and 30 to 71 ms inline (a stand-in kernel, 2 busy cores); the hop costs 0.3 ms of
# the median.
SCORING_THREADS = 2
# an exposure of 500 candidates has 7 kB, and a batch for each would cost a request
EXPOSURE_BATCH_BYTES = 256 << 10


async def build_shard(
    settings: Settings, number: int, models: ServedModels, patient: bool
) -> ShardProcess:
    """One shard, restored and serving;
    a patient one waits for bundles that are those of the system.
    """
    name = shard_name(number)
    clock = SystemClock()
    metrics = new_metrics(settings, name)
    ray = RealRay(settings.ray.namespace)
    coordinator = RemoteCoordinator(ray)
    target = export(settings, metrics, "shard", name)
    if patient or ray.restarted:
        arms = await models.awaited(metrics, functools.partial(coordinator.join, target))
    else:
        arms = models.load()
    shard = Shard(
        name, arms, snapshots(settings), metrics, clock, for_parts.shard_settings(settings)
    )
    applied = AppliedOffsets(get_running_loop())
    shard.on_applied(applied.notify)
    exposures = _exposures(settings, metrics)
    service = ScoringService(
        shard=shard,
        arms=arms,
        partitions=settings.topics.partitions,
        limits=for_parts.limits(settings),
        metrics=metrics,
        clock=clock,
        executor=ThreadPoolExecutor(SCORING_THREADS, thread_name_prefix="score"),
        applied=applied,
        ids=(ids := ScoreIds()),
        exposures=exposures,
    )
    for arm, bundle in arms.items():
        metrics.model_info.labels(arm, bundle.version).set(1)
    process = ShardProcess(
        shard=shard,
        server=rpc_server(
            settings,
            metrics,
            service.wait_s,
            functools.partial(pb_grpc.add_ScoringServicer_to_server, service),
        ),
        host=reachable(settings.serving.host),
        node=ray.node,
        coordinator=coordinator,
        target=target,
        clock=clock,
        exposures=exposures,
        ids=ids,
        models=models,
    )
    answer_promptly()
    await process.start()
    return process


def start_shard(
    settings: Settings, models: ServedModels, number: int, node: str = "", patient: bool = True
) -> Any:
    """Start a shard's actor, on `node` if that has room for it, or anywhere."""
    build = functools.partial(build_shard, settings, number, models, patient)
    return RealRay(settings.ray.namespace).create(shard_name(number), build, node)


def _exposures(settings: Settings, metrics: Metrics) -> ExposureLog | None:
    if not settings.serving.exposures:
        return None
    open_sink = functools.partial(
        KafkaSink, for_parts.access(settings), batch_size=EXPOSURE_BATCH_BYTES
    )
    return ExposureLog(open_sink, topic=settings.topics.exposures, metrics=metrics)
