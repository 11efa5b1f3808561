"""The product's own classes, put together as `cluster.wiring` does it,
with the simulation around them.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive, RollSettings
from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.ingest.ingest import Ingest, IngestSettings
from actors.ingest.ports import LogEnds
from actors.locks import FairLock, Locks
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from actors.serve.score_ids import ScoreIds
from actors.serve.scoring import ScoringService
from actors.serve.traffic import Arm
from actors.shard.applied import AppliedOffsets
from actors.shard.roles import Feed, Role
from actors.shard.shard import Shard, ShardSettings
from actors.snapshots.store import SnapshotStore
from actors.state.maker import TierSettings
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from cluster.coordinator.assignment_files import AssignmentFiles
from cluster.coordinator.coordinator import Coordinator, CoordinatorSettings
from cluster.kafka.log_watch import INTERVAL_S, LogWatch
from cluster.names import COORDINATOR, shard_name
from cluster.processes.actor import Actor
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.coordinator_process import CoordinatorProcess
from cluster.processes.gateway_process import GatewayProcess
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.part_time_reader import Reader
from cluster.processes.remote import RemoteCoordinator, RemoteShards
from cluster.processes.shard_actors import ShardActors
from cluster.processes.shard_process import ShardProcess
from monitoring.discovery import ActorKind, Target
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc
from tests.simulation.simulated import blocking
from tests.simulation.simulated.cold import SimColdDirectory
from tests.simulation.simulated.kafka_log import FORMAT, SimAdmin, SimLog, SimMarks, SimSink
from tests.simulation.simulated.loop import PROCESS
from tests.simulation.simulated.network import SimChannel, SimServer

if TYPE_CHECKING:
    from grpc.aio import Channel

    from actors.state.cold import ColdDirectory
    from tests.simulation.world import World

NAMESPACE = "simulation"
LIMITS = RequestLimits()
SNAPSHOT_INTERVAL_S = 1.0
KEPT = 3
CALL_S = 4.0  # instead of 30 s: who waits in vain for an answer waits long enough
PATIENCE = CoordinatorSettings(lease_s=0.7, grace_s=1.0, start_s=3.0)
HISTORY_PATIENCE_S = 4.0
ROLL = RollSettings(roll_s=1.5, roll_records=60)
APART = 8  # records behind the most advanced arm, beyond which an arm is fed apart
SLICE = 4  # rows or events that the store handles at a time, so that there is something in between
# how often somebody else runs before a store's lock is taken, and for how long
PREEMPTED = 0.05
PREEMPTED_S = 0.005


class PreemptedLock(FairLock):
    """Others may run before it is taken, as with real threads."""

    def __enter__(self) -> None:
        if (process := PROCESS.get(None)) and process.random.random() < PREEMPTED:
            blocking.wait(PREEMPTED_S * process.random.random())
        super().__enter__()


LOCKS = Locks(plain=blocking.Lock, fair=lambda: PreemptedLock(blocking.Lock))

Build = Callable[[], Awaitable[Any]]


def builder(world: World, name: str) -> Build:
    """How to construct the actor of that name."""
    kind, _, number = name.partition("-")
    match kind:
        case "coordinator":
            return functools.partial(_coordinator, world)
        case "shard":
            return functools.partial(_shard, world, int(number))
        case "ingest":
            return functools.partial(_ingest, world, int(number))
        case "archive":
            return functools.partial(_archive, world)
        case _:
            return functools.partial(_gateway, world)


async def _coordinator(world: World) -> Any:
    def create(number: int, node: str) -> None:
        world.ray.create(shard_name(number), functools.partial(_shard, world, number), node)

    async def build() -> CoordinatorProcess:
        coordinator = Coordinator(
            run="run",
            partitions=world.scenario.partitions,
            shards=world.scenario.shards,
            arms=[
                Arm(name=name, model_version=bundle.version, role="live", weight=5000)
                for name, bundle in world.all_arms.items()
            ],
            memory=AssignmentFiles(
                "state",
                lambda root: (world.disk, root),
                lambda count: PROCESS.get().random.randbytes(count).hex(),
            ),
            clock=world.clock(),
            settings=replace(PATIENCE, standbys=world.scenario.standbys),
            restarted=world.ray.restarted,
        )
        coordinator.join(_target("coordinator", COORDINATOR))
        shards = ShardActors(world.ray, create)
        return CoordinatorProcess(coordinator, shards)

    return await _actor(world, build)


async def _shard(world: World, number: int) -> Any:
    async def build() -> ShardProcess:
        name = shard_name(number)
        metrics = Metrics(CollectorRegistry())
        clock = world.clock()
        settings = ShardSettings(
            snapshot_interval_s=SNAPSHOT_INTERVAL_S,
            users_initial=16,
            ready_lag_records_max=10,
            traffic=frozenset({"main"}),
            arms_apart_records=APART,
            tiers=_tiers(world),
            slice_events=SLICE,
            piece_rows=SLICE,
        )
        shard = Shard(
            name,
            world.arms,
            _snapshots(world),
            metrics,
            clock,
            settings,
            LOCKS,
            lambda _: cast("ColdDirectory", SimColdDirectory(world.disk)),
        )
        applied = AppliedOffsets(world.loop)
        shard.on_applied(applied.notify)
        service = ScoringService(
            shard=shard,
            arms=world.arms,
            partitions=world.scenario.partitions,
            limits=LIMITS,
            metrics=metrics,
            clock=clock,
            executor=cast("Executor", None),
            applied=applied,
            ids=(ids := ScoreIds()),
        )
        process = ShardProcess(
            shard=shard,
            server=SimServer(
                world.network, functools.partial(pb_grpc.add_ScoringServicer_to_server, service)
            ),
            host="sim",
            node=world.ray.node,
            coordinator=RemoteCoordinator(world.ray),
            target=_target("shard", name),
            clock=clock,
            ids=ids,
        )
        world.invariants.shards[PROCESS.get()] = shard
        await process.start()
        return process

    return await _actor(world, build)


def _tiers(world: World) -> TierSettings | None:
    """In some scenarios there is hardly any memory."""
    if not world.scenario.users_hot:
        return None
    bytes_a_user = max(each.layout.row_bytes for each in world.all_arms.values())
    return TierSettings(
        cold_directory="cold",
        cold_bytes_max=1 << 20,
        hot_bytes_max=world.scenario.users_hot * (bytes_a_user + BYTES_BESIDE_ROW_MAX),
    )


async def _ingest(world: World, number: int) -> Any:
    async def build() -> IngestProcess:
        coordinator = RemoteCoordinator(world.ray)
        ends = _watched(world)
        owners = _reader(world, Role.OWNER, Feed.FRONT, ends)
        await coordinator.join(_target("ingest", f"ingest-{number}"))
        return IngestProcess(
            owners=owners,
            open_reader=lambda role, feed: _reader(world, role, feed, ends),
            coordinator=coordinator,
            number=number,
            count=world.scenario.ingests,
        )

    return await _actor(world, build)


def _letters(world: World, metrics: Metrics) -> DeadLetters:
    sink = SimSink(world.topic)
    marks = SimMarks(world.topic)
    return DeadLetters(
        sink, topic="clicks.dlq", source_topic="clicks", metrics=metrics, marks=marks
    )


def _watched(world: World) -> LogEnds:
    """A watch over the log that looks as long as the process lives,
    in a task instead of a thread of its own.
    """
    partitions = world.scenario.partitions
    watch = LogWatch(
        lambda: SimAdmin(world.topic),
        "clicks",
        partitions,
        range(partitions),
        Metrics(CollectorRegistry()),
        world.clock(),
    )

    async def look() -> None:
        while True:
            pause = world.loop.create_future()
            world.loop.call_later(INTERVAL_S, pause.set_result, None)
            await pause
            await asyncio.to_thread(watch.look)

    world.loop.create_task(look())
    return watch.ends


def _reader(world: World, role: Role, feed: Feed, ends: LogEnds) -> Reader:
    metrics = Metrics(CollectorRegistry())
    clock = world.clock()
    shards = RemoteShards(world.ray, role, feed)
    in_charge = (role, feed) == (Role.OWNER, Feed.FRONT)
    ingest = Ingest(
        SimLog(world.topic, world.committed),
        _letters(world, metrics) if in_charge else None,
        Decoder(FORMAT, clock, partitions=world.scenario.partitions),
        shards,
        metrics,
        clock,
        IngestSettings(
            commits=in_charge, commit_interval_s=0.5, history_patience_s=HISTORY_PATIENCE_S
        ),
        history=ArchiveReader(_archive_files(world)),
        ends=ends,
    )
    return Reader(ingest, shards, lambda: None)


async def _archive(world: World) -> Any:
    async def build() -> ArchiveProcess:
        metrics = Metrics(CollectorRegistry())
        clock = world.clock()
        log = SimLog(world.topic, world.committed)
        partitions = range(world.scenario.partitions)
        files = _archive_files(world)
        erased = _snapshots(world).tombstones.read
        decoder = Decoder(FORMAT, clock, partitions=len(partitions))
        await RemoteCoordinator(world.ray).join(_target("archive", "archive"))
        return ArchiveProcess(
            Archive(log, decoder, files, partitions, metrics, clock, ROLL, erased, LOCKS)
        )

    return await _actor(world, build)


async def _gateway(world: World) -> Any:
    async def build() -> GatewayProcess:
        metrics = Metrics(CollectorRegistry())
        gateway = Gateway(
            limits=LIMITS,
            salt=NAMESPACE,
            message_bytes_max=1 << 20,
            metrics=metrics,
            clock=world.loop.time,
            open_channel=lambda address, *_: cast(
                "Channel", SimChannel(world.loop, world.network, address)
            ),
        )
        server = SimServer(world.network, gateway.add_to)
        process = GatewayProcess(
            gateway=gateway,
            server=server,
            host="sim",
            port=50051,
            coordinator=RemoteCoordinator(world.ray),
            metrics=metrics,
        )
        await process.start(_target("gateway", "gateway"))
        return process

    return await _actor(world, build)


async def _actor(world: World, build: Build) -> Actor:
    """Construct as Ray does: an actor's constructor may be a coroutine."""
    made = Actor.__new__(Actor)
    await Actor.__init__(made, world.ray, build)  # type: ignore[misc]
    return made


def _target(kind: ActorKind, name: str) -> Target:
    return Target(kind=kind, name=name, address=f"{PROCESS.get()}:metrics")


def _snapshots(world: World) -> SnapshotStore:
    return SnapshotStore(world.disk, "state", KEPT)


def _archive_files(world: World) -> ArchiveFiles:
    return ArchiveFiles(world.disk, "archive", writer=str(PROCESS.get()))
