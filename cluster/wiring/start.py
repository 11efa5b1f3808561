"""The composition root: settings in, a running system out.
Real clients and actors are made here and nowhere else.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
from asyncio import get_running_loop
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive
from actors.calls.interceptor import ADMIN, SERVICE, RequestInterceptor
from actors.calls.server import RpcServer
from actors.clicks.dead_letter import DeadLetters
from actors.clock import SystemClock
from actors.ingest.ingest import Ingest
from actors.ingest.ports import LogEnds
from actors.serve.exposure import ExposureLog
from actors.serve.gateway import Gateway
from actors.serve.score_ids import ScoreIds
from actors.serve.scoring import ScoringService
from actors.serve.traffic import Arm
from actors.shard.applied import AppliedOffsets
from actors.shard.roles import Feed, Role
from actors.shard.shard import Shard
from actors.snapshots.identity import Identity, claim
from actors.snapshots.store import SnapshotStore
from cluster.broker.broker import Broker, resolve
from cluster.broker.free_port import check_free
from cluster.coordinator.assignment_files import AssignmentFiles
from cluster.coordinator.coordinator import Coordinator
from cluster.kafka.clients import KafkaAdmin, KafkaSink
from cluster.kafka.letter_marks import KafkaLetterMarks
from cluster.kafka.log import KafkaLog
from cluster.kafka.log_watch import watch_kafka
from cluster.kafka.topic_identity import TopicIdentity
from cluster.kafka.topics import ensure_topics, warn_of_lossy_settings
from cluster.lifecycle.detached import start_actor
from cluster.lifecycle.ray_start import start_ray
from cluster.lifecycle.system import System
from cluster.names import ARCHIVE, COORDINATOR, GATEWAY, ingest_name, shard_name
from cluster.operate.admin import Admin
from cluster.operate.remote_erasure import erasure
from cluster.processes import processes
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.coordinator_process import CoordinatorProcess
from cluster.processes.gateway_process import GatewayProcess
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.part_time_reader import Reader
from cluster.processes.promptness import answer_promptly
from cluster.processes.remote import RemoteCoordinator, RemoteReplicas, RemoteShards
from cluster.processes.served_models import ServedModels
from cluster.processes.shard_actors import ShardActors
from cluster.processes.shard_process import ShardProcess
from cluster.settings import for_parts as derived
from cluster.settings.config import Settings
from model.bundle.bundle import Bundle
from model.bundle.load import load_bundle
from monitoring import logs
from monitoring.addresses import WILDCARDS, bare
from monitoring.control_store import ControlStore
from monitoring.discovery import ActorKind, Target
from monitoring.exporter import Exporter
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc

# Off the event loop: with folding beside it and 4 clients, p99 was 26 to 32 ms on two threads, 28
# to 51 ms on one and 30 to 71 ms inline (a stand-in kernel, 2 busy cores); the hop costs 0.3 ms of
# the median.
SCORING_THREADS = 2
# an exposure of 500 candidates has 7 kB, and a batch for each would cost a request
EXPOSURE_BATCH_BYTES = 256 << 10

# Nobody waits for the archive: few and large polls, 1.1 CPU seconds for 100,000 clicks, and others
# go first.
ARCHIVE_POLL_MS = 1000
ARCHIVE_FETCH_BYTES = 1 << 20
ARCHIVE_POLL_RECORDS = 10_000
ARCHIVE_NICE = 10

log = logging.getLogger(__name__)

Load = Callable[[str], Bundle]


def start(
    settings: Settings, *, load: Load = load_bundle, environ: Mapping[str, str] = os.environ
) -> System:
    """Start broker, Ray and actors; the system works when `System.wait_ready` returns.
    Call it from the main thread.

    Raises:
        ConfigError, BundleError, BrokerUnavailable: what cannot be used, found before anything is
            left running.
    """
    arms = [
        _arm(settings, name, load(bundle).version) for name, bundle in _bundles(settings).items()
    ]
    for setting, host, port in (
        ("serving", settings.serving.host, settings.serving.port),
        ("monitoring", settings.monitoring.host, settings.monitoring.port),
    ):
        check_free(setting, host, port)
    run = secrets.token_hex(4)
    with ExitStack() as undo:
        broker = undo.enter_context(_broker(settings, environ))
        settings = derived.placed(settings, broker, run)
        with KafkaAdmin(derived.access(settings)) as admin:
            ensure_topics(admin, derived.topics(settings, own_broker=broker.kind != "external"))
            if broker.kind != "embedded":
                # it has no replicas, and hangs up when it is asked for settings
                warn_of_lossy_settings(admin, settings.topics.clicks)
            identity = Identity(
                namespace=settings.ray.namespace,
                topic=settings.topics.clicks,
                log=admin.cluster_id() or "",
            )
            topic_id = admin.topic_id(settings.topics.clicks)
        TopicIdentity(settings.state.directory).confirm(settings.topics.clicks, topic_id)
        claim(settings.state.directory, identity)
        undo.callback(ray.shutdown)
        start_ray(settings.ray, show_logs=settings.monitoring.log_level == "DEBUG")
        actors: dict[str, Any] = {}
        system = System(settings, broker, actors, ephemeral_state=broker.kind == "embedded")
        undo.callback(system.kill)
        # those that were made, should a later one fail
        actors.update(_actors(settings, run, arms, load))
        system.wait_constructed()
        undo.pop_all()
    return system


async def build_coordinator(
    settings: Settings, run: str, arms: list[Arm], models: ServedModels
) -> CoordinatorProcess:
    """The coordinator, with what its predecessor left behind."""
    metrics = _metrics(settings, COORDINATOR)
    coordinator = Coordinator(
        run=run,
        partitions=settings.topics.partitions,
        shards=settings.serving.shards,
        arms=arms,
        memory=AssignmentFiles(settings.state.directory),
        clock=SystemClock(),
        settings=derived.coordinator_settings(settings),
        restarted=ray.get_runtime_context().was_current_actor_reconstructed,
    )
    ControlStore(ray.get_runtime_context().get_session_name()).export(metrics)
    coordinator.join(_export(settings, metrics, "coordinator", COORDINATOR))
    shards = ShardActors(settings.ray.namespace, functools.partial(_shard_actor, settings, models))
    return CoordinatorProcess(coordinator, shards)


async def build_shard(
    settings: Settings, number: int, models: ServedModels, patient: bool
) -> ShardProcess:
    """One shard, restored and serving;
    a patient one waits for bundles that are those of the system.
    """
    name = shard_name(number)
    clock = SystemClock()
    metrics = _metrics(settings, name)
    registry = RemoteCoordinator(settings.ray.namespace)
    target = _export(settings, metrics, "shard", name)
    if patient or ray.get_runtime_context().was_current_actor_reconstructed:
        arms = await models.awaited(metrics, functools.partial(registry.join, target))
    else:
        arms = models.load()
    shard = Shard(
        name, arms, _snapshots(settings), metrics, clock, derived.shard_settings(settings)
    )
    applied = AppliedOffsets(get_running_loop())
    shard.on_applied(applied.notify)
    exposures = _exposures(settings, metrics)
    service = ScoringService(
        shard=shard,
        arms=arms,
        partitions=settings.topics.partitions,
        limits=derived.limits(settings),
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
        server=_server(
            settings,
            metrics,
            service.wait_s,
            functools.partial(pb_grpc.add_ScoringServicer_to_server, service),
        ),
        host=_reachable(settings.serving.host),
        node=ray.get_runtime_context().get_node_id(),
        registry=registry,
        target=target,
        clock=clock,
        exposures=exposures,
        ids=ids,
        models=models,
    )
    answer_promptly()
    await process.start()
    return process


async def build_ingest(settings: Settings, number: int) -> IngestProcess:
    """One ingest, which reads as soon as its partitions have owners."""
    name = ingest_name(number)
    metrics = _metrics(settings, name)
    coordinator = RemoteCoordinator(settings.ray.namespace)
    topics = settings.topics
    partitions = range(number, topics.partitions, settings.serving.ingests)
    access = derived.access(settings)
    clock = SystemClock()
    watch = watch_kafka(access, topics.clicks, topics.partitions, partitions, metrics, clock)
    process = IngestProcess(
        owners=_reader(
            settings, Role.OWNER, Feed.FRONT, metrics, watch.ends, _letters(settings, metrics)
        ),
        open_reader=lambda role, feed: _reader(
            settings, role, feed, metrics.of_others(behind=feed is Feed.BEHIND), watch.ends
        ),
        followed=coordinator,
        number=number,
        count=settings.serving.ingests,
    )
    watch.start()
    await coordinator.join(_export(settings, metrics, "ingest", name))
    return process


def _letters(settings: Settings, metrics: Metrics) -> DeadLetters:
    """For the one reader of a partition that writes them."""
    access = derived.access(settings)
    topics = settings.topics
    marks = KafkaLetterMarks(access, topic=topics.clicks, group_id=derived.letters_group(settings))
    sink = KafkaSink(access)
    return DeadLetters(
        sink, topic=topics.dlq, source_topic=topics.clicks, metrics=metrics, marks=marks
    )


def _reader(
    settings: Settings,
    role: Role,
    feed: Feed,
    metrics: Metrics,
    ends: LogEnds,
    letters: DeadLetters | None = None,
) -> Reader:
    clock = SystemClock()
    topics = settings.topics
    in_charge = letters is not None
    click_log = KafkaLog(
        derived.access(settings),
        topic=topics.clicks,
        group_id=settings.kafka.group_id if in_charge else None,
        poll_timeout_ms=settings.kafka.poll_timeout_ms,
        records_per_poll_max=settings.kafka.records_per_poll_max,
        topic_id=TopicIdentity(settings.state.directory).load(),
    )
    shards = RemoteShards(settings.ray.namespace, role, feed)
    ingest = Ingest(
        click_log,
        letters,
        derived.decoder(settings, clock),
        shards,
        metrics,
        clock,
        derived.ingest_settings(settings, feed, commits=in_charge),
        history=_history(settings),
        ends=ends,
    )
    return Reader(ingest, shards, click_log.close)


async def build_archive(settings: Settings) -> ArchiveProcess:
    """The archive, which goes on where its files end."""
    os.nice(ARCHIVE_NICE)
    metrics = _metrics(settings, ARCHIVE)
    clock = SystemClock()
    click_log = KafkaLog(
        derived.access(settings),
        topic=settings.topics.clicks,
        poll_timeout_ms=ARCHIVE_POLL_MS,
        records_per_poll_max=ARCHIVE_POLL_RECORDS,
        fetch_bytes_min=ARCHIVE_FETCH_BYTES,
        topic_id=TopicIdentity(settings.state.directory).load(),
    )
    archive = Archive(
        click_log,
        derived.decoder(settings, clock),
        ArchiveFiles.from_uri(settings.archive.directory),
        range(settings.topics.partitions),
        metrics,
        clock,
        derived.roll_settings(settings),
        erased=_snapshots(settings).tombstones.read,
    )
    coordinator = RemoteCoordinator(settings.ray.namespace)
    await coordinator.join(_export(settings, metrics, "archive", ARCHIVE))
    return ArchiveProcess(archive)


async def build_gateway(settings: Settings) -> GatewayProcess:
    """The gateway, listening."""
    metrics = _metrics(settings, GATEWAY)
    message_bytes_max = settings.serving.message_bytes_max
    gateway = Gateway(
        limits=derived.limits(settings),
        salt=settings.ray.namespace,
        message_bytes_max=message_bytes_max,
        metrics=metrics,
    )
    coordinator = RemoteCoordinator(settings.ray.namespace)
    admin = Admin(
        overseer=coordinator,
        replicas=RemoteReplicas(settings.ray.namespace),
        table=lambda: process.table(),  # noqa: PLW0108 (made below)
        erase=erasure(settings).erase,
        token=settings.serving.admin_token,
    )
    process = GatewayProcess(
        gateway=gateway,
        server=_server(settings, metrics, gateway.wait_s, gateway.add_to, admin.add_to),
        host=settings.serving.host,
        port=settings.serving.port,
        publisher=coordinator,
        metrics=metrics,
    )
    sites = {
        "port": settings.monitoring.port,
        "targets": process.targets,
        "health": process.trouble,
    }
    target = _export(settings, metrics, "gateway", GATEWAY, **sites)
    answer_promptly()
    await process.start(target)
    return process


def _actors(settings: Settings, run: str, arms: list[Arm], load: Load) -> Iterator[tuple[str, Any]]:
    """Start one actor after the other."""

    def actor(kind: type[Any], name: str, build: Callable[..., Any], *args: Any) -> tuple[str, Any]:
        build = functools.partial(build, settings, *args)
        return name, start_actor(settings.ray.namespace, kind, name, build)

    models = ServedModels(_bundles(settings), {arm.name: arm.model_version for arm in arms}, load)
    yield actor(processes.CoordinatorActor, COORDINATOR, build_coordinator, run, arms, models)
    for number in range(settings.serving.shards):
        yield shard_name(number), _shard_actor(settings, models, number, patient=False)
    for number in range(settings.serving.ingests):
        yield actor(processes.IngestActor, ingest_name(number), build_ingest, number)
    if settings.archive.enabled:
        yield actor(processes.ArchiveActor, ARCHIVE, build_archive)
    yield actor(processes.GatewayActor, GATEWAY, build_gateway)


def _shard_actor(
    settings: Settings, models: ServedModels, number: int, node: str = "", patient: bool = True
) -> Any:
    build = functools.partial(build_shard, settings, number, models, patient)
    return start_actor(
        settings.ray.namespace, processes.ShardActor, shard_name(number), build, node
    )


def _reachable(host: str) -> str:
    """An address by which other nodes reach this one where `host`
    means all addresses, else `host`.
    """
    address: str = ray.util.get_node_ip_address() if bare(host) in WILDCARDS else host
    return address


def _export(
    settings: Settings, metrics: Metrics, kind: ActorKind, name: str, **options: Any
) -> Target:
    """Serve the metrics as long as the process lives."""
    host = settings.monitoring.host
    exporter = Exporter(metrics.registry, host=host, advertised_host=_reachable(host), **options)
    return Target(kind=kind, name=name, address=exporter.address)


def _metrics(settings: Settings, actor: str) -> Metrics:
    """Logging and metrics of a process, which begins here."""
    logs.set_up(
        level=settings.monitoring.log_level, as_json=settings.monitoring.log_json, actor=actor
    )
    return Metrics(CollectorRegistry())


def _server(
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

    requests = RequestInterceptor(metrics, derived.bounds(settings), wait_s)
    names = (SERVICE, ADMIN)[: len(add_services)]
    return RpcServer(add, requests, settings.serving.message_bytes_max, names)


def _arm(settings: Settings, name: str, version: str) -> Arm:
    [arm] = [arm for arm in settings.arms if arm.name == name]
    return Arm(name=name, model_version=version, role=arm.role, weight=arm.weight)


def _bundles(settings: Settings) -> dict[str, str]:
    return {arm.name: str(Path(arm.bundle).absolute()) for arm in settings.arms}


def _snapshots(settings: Settings) -> SnapshotStore:
    return SnapshotStore.from_uri(settings.state.directory, settings.state.snapshots_kept)


def _history(settings: Settings) -> ArchiveReader | None:
    """Where clicks come from that the log has lost."""
    return (
        ArchiveReader(ArchiveFiles.from_uri(settings.archive.directory))
        if settings.archive.enabled
        else None
    )


def _exposures(settings: Settings, metrics: Metrics) -> ExposureLog | None:
    if not settings.serving.exposures:
        return None
    open_sink = functools.partial(
        KafkaSink, derived.access(settings), batch_size=EXPOSURE_BATCH_BYTES
    )
    return ExposureLog(open_sink, topic=settings.topics.exposures, metrics=metrics)


def _broker(settings: Settings, environ: Mapping[str, str]) -> Broker:
    if settings.kafka.bootstrap_servers:
        return resolve(derived.access(settings), environ=environ)
    local = "://" not in settings.state.directory
    return resolve(
        environ=environ,
        directory=Path(settings.state.directory, "kafka").absolute() if local else None,
    )
