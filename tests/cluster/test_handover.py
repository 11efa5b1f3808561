"""Partitions that change hands while clicks and questions go on: real processes, a real broker."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import numpy as np
import pytest
import ray
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster import wiring
from cluster.admin_client import AdminClient
from cluster.broker import Broker
from cluster.config import (
    ArchiveSettings,
    ArmSettings,
    KafkaSettings,
    MonitoringSettings,
    RaySettings,
    ServingSettings,
    Settings,
    StateSettings,
    TopicSettings,
)
from cluster.kafka_clients import KafkaAccess
from cluster.remote import COORDINATOR
from cluster.routing import RoutingTable
from cluster.system import System
from model.bundle import write_bundle
from model.config import ModelConfig
from model.network import Network
from tests.chaos.questions import OK, Questions
from tests.chaos.recovery import until
from tests.cluster.test_system import ITEMS, PARTITIONS, USERS, Clicks, free_port, offline_digests

pytestmark = [pytest.mark.ray, pytest.mark.broker]

TOKEN = "open-sesame"
PATIENCE_S = 60.0
TAKEOVER_S = 4.0  # the target is 2 on a machine that does nothing else


class Stream:
    """A thread that sends clicks all the time; `stop` returns how far each partition goes."""

    def __init__(self, clicks: Clicks) -> None:
        self._clicks, self._stop = clicks, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> dict[int, int]:
        """End, if that is not done yet."""
        self._stop.set()
        self._thread.join()
        return self._clicks.ends

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self._clicks.send(10)


class Running:
    """A system under load, from the first click to the comparison with a clean fold."""

    def __init__(self, settings: Settings, system: System, clicks: Clicks, scratch: Path) -> None:
        self.settings, self.system, self._scratch = settings, system, scratch
        self.stream = Stream(clicks)
        self.questions = Questions(system.gateway_address, USERS, len(ITEMS), seed=1)

    def table(self) -> RoutingTable:
        """What the coordinator says now."""
        table: RoutingTable = ray.get(ray.get_actor(COORDINATOR).wait_newer.remote(0, 0.0), timeout=PATIENCE_S)
        return table

    def until(self, done, what: str) -> float:  # type: ignore[no-untyped-def]
        """The moment from which on something holds."""
        return until(done, what, time.monotonic() + PATIENCE_S)

    def serving(self) -> bool:
        """What the gateway's health check says."""
        with grpc.insecure_channel(self.system.gateway_address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def settled(self) -> bool:
        """Whether every owner and standby is where it should be, and has caught up."""
        progress = ray.get(ray.get_actor(COORDINATOR).progress.remote(), timeout=PATIENCE_S)
        return not progress.waiting_for

    def failed(self) -> list[str]:
        """What questions ended with instead of an answer."""
        assert len(self.questions.asked) > 20
        return [each.code for each in self.questions.asked if each.code != OK]

    def check_states(self) -> None:
        """All clicks are applied, once: owners' states equal a fold of the log in this process, byte for byte."""
        ends = self.stream.stop()
        self.until(lambda: self.system.positions() == ends, f"all clicks up to {ends}")
        directory = Path(tempfile.mkdtemp(dir=self._scratch))
        clean = offline_digests(self.settings, ends, directory)
        owners = {p: route.owner.shard for p, route in enumerate(self.table().routes)}
        for (partition, arm), digest in clean.items():
            owner = ray.get_actor(owners[partition])
            assert ray.get(owner.fingerprints.remote(partition), timeout=PATIENCE_S)[arm] == (ends[partition], digest)

    def close(self) -> None:
        """End the load."""
        self.stream.stop()
        self.questions.close()


@pytest.fixture(scope="module")
def settings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two shards on the tests' broker."""
    bundle = tmp_path_factory.mktemp("bundle") / "main"
    write_bundle(bundle, Network(ModelConfig(), len(ITEMS)).eval(), ITEMS, np.ones(len(ITEMS)), {})
    ray_directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's socket paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", ray_directory)
        yield Settings(
            ray=RaySettings(cpus=2),
            kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
            archive=ArchiveSettings(enabled=False),
            serving=ServingSettings(admin_token=TOKEN, shards=2),
            arms=(ArmSettings(name="main", bundle=str(bundle), weight=10_000, role="live"),),
        )
    shutil.rmtree(ray_directory, ignore_errors=True)


def started(settings: Settings, scratch: Path, undo: ExitStack, *, standbys: int) -> Running:
    """A system of its own topics and directory, settled and under load, until `undo` is closed."""
    topic = f"clicks-{uuid.uuid4().hex[:8]}"
    own = {
        "topics": TopicSettings(clicks=topic, dlq=f"{topic}.dlq", exposures=f"{topic}.exp", partitions=PARTITIONS),
        "state": StateSettings(directory=str(scratch / "state"), snapshot_interval_s=1.0),
        "serving": settings.serving.model_copy(update={"port": free_port(), "standbys": standbys}),
        "monitoring": MonitoringSettings(port=free_port(), log_level="WARNING"),
    }
    settings = settings.model_copy(update=own)
    system = undo.enter_context(wiring.start(settings))
    system.wait_ready(PATIENCE_S)
    clicks = undo.enter_context(closing(Clicks(KafkaAccess(bootstrap_servers=system.bootstrap_servers), topic)))
    running = undo.enter_context(closing(Running(settings, system, clicks, scratch)))
    running.until(running.settled, "everything in its place")
    running.until(lambda: len(running.questions.asked) > 20, "the first answers")
    running.questions.asked.clear()  # the first questions compile
    return running


@pytest.fixture(scope="module")
def alone(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A system without standbys."""
    with ExitStack() as undo:
        yield started(settings, tmp_path_factory.mktemp("alone"), undo, standbys=0)


@pytest.fixture(scope="module")
def paired(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A system with a standby of each partition."""
    with ExitStack() as undo:
        yield started(settings, tmp_path_factory.mktemp("paired"), undo, standbys=1)


async def test_scaling_out_and_in_fails_no_question(alone: Running) -> None:
    """2 -> 3 -> 1 shards under a stream: every question is answered, and the states are those of a clean fold."""
    async with AdminClient(alone.system.gateway_address, token=TOKEN) as admin:
        for shards in (3, 1):
            began = time.monotonic()
            steps = [step async for step in admin.scale(shards)]
            assert (steps[-1].done, steps[-1].shards_now, steps[-1].shards_wanted) == (True, shards, shards)
            print(f"{shards} shards after {time.monotonic() - began:.1f} s: {[s.message for s in steps]}")  # noqa: T201
        assert set(alone.system.shard_pids()) == {"shard-0"}
        durable = await admin.snapshot()
        assert durable.keys() == set(range(PARTITIONS))
        [replica] = await admin.digest(0)
        assert (replica.shard, replica.role) == ("shard-0", "OWNER")
    assert alone.failed() == []
    alone.check_states()
