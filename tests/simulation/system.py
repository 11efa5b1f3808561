"""The product's own classes, put together as `cluster.wiring` does it, with the simulation around them."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import CollectorRegistry

import actors.deadline
import actors.image
import actors.shard
import actors.snapshotter
import actors.store
import cluster.assignment_file
import cluster.processes
import cluster.remote
from actors.applied import AppliedOffsets
from actors.archive import Archive, RollSettings
from actors.archive_files import ArchiveFiles
from actors.atomic_files import sync
from actors.codec import Decoder
from actors.dead_letter import DeadLetters
from actors.fair_lock import FairLock
from actors.gateway import Gateway
from actors.ingest import Ingest, IngestSettings
from actors.limits import RequestLimits
from actors.owned import Owned
from actors.scoring import ScoringService
from actors.shard import Shard, ShardSettings
from actors.snapshot import SnapshotStore
from actors.traffic import Arm
from cluster.archive_process import ArchiveProcess
from cluster.assignment_file import AssignmentFile
from cluster.coordinator import Coordinator
from cluster.gateway_process import GatewayProcess
from cluster.ingest_process import IngestProcess
from cluster.processes import ArchiveActor, CoordinatorActor, GatewayActor, IngestActor, ShardActor
from cluster.remote import COORDINATOR, RemoteCoordinator, RemoteShards
from cluster.shard_process import ShardProcess
from monitoring.discovery import ActorKind, Target
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc
from tests.simulation import blocking
from tests.simulation.kafka_log import FORMAT, SimLog, SimSink
from tests.simulation.loop import PROCESS
from tests.simulation.network import SimChannel, SimRay, SimServer

if TYPE_CHECKING:
    from tests.simulation.world import World

NAMESPACE = "simulation"
LIMITS = RequestLimits()
SNAPSHOT_INTERVAL_S = 1.0
KEPT = 3
ROLL = RollSettings(roll_s=1.5, roll_records=60)
SLICE = 4  # rows or events that the store handles at a time, so that there is something in between
PREEMPTED, PREEMPTED_S = 0.05, 0.005  # how often somebody else runs before a store's lock is taken, and for how long

Build = Callable[[], Awaitable[Any]]


def builders(world: World) -> dict[str, Build]:
    """How to construct each actor, by name, in the order of starting."""
    scenario = world.scenario
    made: dict[str, Build] = {COORDINATOR: functools.partial(_coordinator, world)}
    made |= {f"shard-{n}": functools.partial(_shard, world, f"shard-{n}", n) for n in range(scenario.shards)}
    made |= {f"ingest-{n}": functools.partial(_ingest, world, n) for n in range(scenario.ingests)}
    return made | {
        "archive": functools.partial(_archive, world),
        "gateway": functools.partial(_gateway, world),
    }


async def _coordinator(world: World) -> Any:
    async def build() -> Coordinator:
        arms = [
            Arm(name=name, model_version=bundle.version, role="live", weight=5000)
            for name, bundle in world.arms.items()
        ]
        return Coordinator(
            run="run",
            partitions=world.scenario.partitions,
            shards=[f"shard-{number}" for number in range(world.scenario.shards)],
            arms=arms,
            memory=AssignmentFile("state"),
        )

    return await _actor(CoordinatorActor, build)


async def _shard(world: World, name: str, number: int) -> Any:
    async def build() -> ShardProcess:
        metrics, clock = Metrics(CollectorRegistry()), world.clock()
        settings = ShardSettings(snapshot_interval_s=SNAPSHOT_INTERVAL_S, users_initial=16, ready_lag_records_max=10)
        shard = Shard(name, world.arms, SnapshotStore(world.disk, "state", KEPT), metrics, clock, settings)
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
            node=number,
        )
        server = SimServer(world.network, functools.partial(pb_grpc.add_ScoringServicer_to_server, service))
        registry, target = RemoteCoordinator(NAMESPACE), _target("shard", name)
        process = ShardProcess(shard=shard, server=server, host="sim", registry=registry, target=target)
        world.invariants.shards[PROCESS.get()] = shard
        await process.start()
        return process

    return await _actor(ShardActor, build)


async def _ingest(world: World, number: int) -> Any:
    async def build() -> IngestProcess:
        metrics, clock = Metrics(CollectorRegistry()), world.clock()
        shards, coordinator = RemoteShards(NAMESPACE), RemoteCoordinator(NAMESPACE)
        letters = DeadLetters(SimSink(world.topic), topic="clicks.dlq", source_topic="clicks", metrics=metrics)
        log = SimLog(world.topic, world.committed)
        settings = IngestSettings(commit_interval_s=0.5)
        ingest = Ingest(log, letters, Decoder(FORMAT, clock), shards, metrics, clock, settings)
        await coordinator.join(_target("ingest", f"ingest-{number}"))
        count = world.scenario.ingests
        return IngestProcess(ingest=ingest, shards=shards, followed=coordinator, number=number, count=count)

    return await _actor(IngestActor, build)


async def _archive(world: World) -> Any:
    async def build() -> ArchiveProcess:
        metrics, clock = Metrics(CollectorRegistry()), world.clock()
        log, partitions = SimLog(world.topic, world.committed), range(world.scenario.partitions)
        files = ArchiveFiles(world.disk, "archive")
        await RemoteCoordinator(NAMESPACE).join(_target("archive", "archive"))
        return ArchiveProcess(Archive(log, Decoder(FORMAT, clock), files, partitions, metrics, clock, ROLL))

    return await _actor(ArchiveActor, build)


async def _gateway(world: World) -> Any:
    async def build() -> GatewayProcess:
        metrics = Metrics(CollectorRegistry())
        gateway = Gateway(limits=LIMITS, salt=NAMESPACE, message_bytes_max=1 << 20, metrics=metrics)
        server = SimServer(world.network, gateway.add_to)
        process = GatewayProcess(
            gateway=gateway,
            server=server,
            host="sim",
            port=50051,
            publisher=RemoteCoordinator(NAMESPACE),
            metrics=metrics,
        )
        await process.start(_target("gateway", "gateway"))
        return process

    return await _actor(GatewayActor, build)


async def _actor(kind: type[Any], build: Build) -> Any:
    """Construct as Ray does: an actor's constructor may be a coroutine."""
    made = kind.__new__(kind)
    await kind.__init__(made, build)
    return made


def _target(kind: ActorKind, name: str) -> Target:
    return Target(kind=kind, name=name, address=f"{PROCESS.get()}:metrics")


@contextlib.contextmanager
def installed(world: World) -> Iterator[None]:
    """Put the simulation where the product's modules name Ray, threads, clocks and local files themselves."""
    ray, threading = SimRay(world.network), SimpleNamespace(Lock=blocking.Lock)

    def deadline(call: Any, default_s: float) -> actors.deadline.Deadline:
        left = call.time_remaining()
        return actors.deadline.Deadline(world.loop.time() + (default_s if left is None else left), world.loop.time)

    enter_now = FairLock.__enter__

    def enter(lock: FairLock) -> None:
        """Others may run before a lock is taken, as with real threads."""
        if (process := PROCESS.get(None)) and process.random.random() < PREEMPTED:
            blocking.wait(PREEMPTED_S * process.random.random())
        enter_now(lock)

    def end(error: BaseException) -> None:
        world.trace.say(PROCESS.get(), f"ends itself: {error!r}")
        world.crash(PROCESS.get())
        raise blocking.Died

    def channel(_gateway: Gateway, address: str) -> SimChannel:
        return SimChannel(world.loop, world.network, address)

    places: list[tuple[Any, str, Any]] = [
        (cluster.remote, "ray", ray),
        (cluster.processes, "ray", ray),
        (cluster.processes, "_end", end),
        (cluster.assignment_file, "open_root", lambda root: (world.disk, root)),
        (actors.shard, "threading", threading),
        (actors.snapshotter, "threading", threading),
        (actors.shard, "Owned", lambda *values, **named: Owned(*values, **named, writer=blocking.Lock())),
        (actors.deadline.Deadline, "of", deadline),
        (Gateway, "_channel", channel),
        (FairLock, "__enter__", enter),
        (actors.image, "PIECE_ROWS", SLICE),
        (actors.store, "SLICE_EVENTS", SLICE),
        *((module, "sync", _sync) for module in _modules_with(sync)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for place, name, stand_in in places:
            patch.setattr(place, name, stand_in)
        yield


def _modules_with(function: Any) -> list[Any]:
    """The product's modules that imported a function by its name."""
    ours = [module for name, module in sys.modules.items() if name.startswith(("actors.", "cluster."))]
    return [module for module in ours if vars(module).get(function.__name__) is function]


def _sync(disk: Any, path: str) -> None:
    disk.sync(path)
