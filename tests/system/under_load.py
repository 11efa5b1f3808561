"""A system of real processes under clicks and questions,
for tests of partitions that change hands.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import ray
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors.shard.held import Fingerprint
from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.coordinator.coordinator import Coordinator, Progress
from cluster.coordinator.routing import RoutingTable
from cluster.kafka.access import KafkaAccess
from cluster.lifecycle.system import System
from cluster.names import COORDINATOR
from cluster.processes.ray_calls import begin
from cluster.processes.shard_process import ShardProcess
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings, MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from cluster.wiring.start import start_system
from model.config import ModelConfig
from model.network.export import write_bundle
from model.network.network import Network
from tests.chaos.questions import OK, Questions
from tests.chaos.recovery import until
from tests.system.offline_fold import offline_digests
from tests.system.sent_clicks import ITEMS, PARTITIONS, USERS, Clicks

TOKEN = "open-sesame"
PATIENCE_S = 60.0


class Stream:
    """A thread that sends clicks all the time; `stop` returns how far each partition goes."""

    def __init__(self, clicks: Clicks) -> None:
        self._clicks = clicks
        self._stop = threading.Event()
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
        self.settings = settings
        self.system = system
        self._clicks = clicks
        self._scratch = scratch
        self.stream = Stream(clicks)
        self.questions = Questions(system.gateway_address, USERS, len(ITEMS), seed=1)

    def table(self) -> RoutingTable:
        """What the coordinator says now."""
        asked = begin(ray.get_actor(COORDINATOR), Coordinator.wait_newer, 0, 0.0)
        table: RoutingTable = ray.get(asked, timeout=PATIENCE_S)
        return table

    def until(self, done, what: str) -> float:  # type: ignore[no-untyped-def]
        """The moment from which on something holds."""
        return until(done, what, time.monotonic() + PATIENCE_S)

    def serving(self) -> bool:
        """What the gateway's health check says."""
        with grpc.insecure_channel(self.system.gateway_address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=5
            )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def settled(self) -> bool:
        """Whether every owner and standby is where it should be, and has caught up."""
        asked = begin(ray.get_actor(COORDINATOR), Coordinator.progress)
        progress: Progress = ray.get(asked, timeout=PATIENCE_S)
        return not progress.waiting_for

    def failed(self) -> list[str]:
        """What questions ended with instead of an answer."""
        assert len(self.questions.asked) > 20
        return [each.code for each in self.questions.asked if each.code != OK]

    def check_states(self) -> None:
        """Every replica gets to the states of a fold of the log in this process,
        byte for byte; the load goes on.
        """
        ends = self.stream.stop()
        clean = offline_digests(self.settings, ends, Path(tempfile.mkdtemp(dir=self._scratch)))
        for (partition, arm), digest in clean.items():
            for _, replica in self.table().routes[partition].replicas():
                what = (
                    f"partition {partition} at {replica.shard} to be {digest} at {ends[partition]}"
                )
                wanted = {arm: (ends[partition], digest)}
                self.until(
                    lambda r=replica, p=partition, w=wanted: self.fingerprints(r.shard, p) == w,
                    what,
                )
        self.stream = Stream(self._clicks)
        self.questions.asked.clear()

    def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm of a replica."""
        asked = begin(ray.get_actor(shard), ShardProcess.fingerprints, partition)
        found: dict[str, Fingerprint] = ray.get(asked, timeout=PATIENCE_S)
        return found

    def owned_by(self, shard: str) -> list[int]:
        """The partitions of which the table says that a shard owns them."""
        return [
            partition
            for partition, route in enumerate(self.table().routes)
            if route.owner.shard == shard
        ]

    def close(self) -> None:
        """End the load."""
        self.stream.stop()
        self.questions.close()


@contextmanager
def under_load(broker: Broker, scratch: Path, *, standbys: int) -> Iterator[Running]:
    """Two shards on the tests' broker, settled and under load."""
    bundle = scratch / "bundle"
    write_bundle(bundle, Network(ModelConfig(), len(ITEMS)).eval(), ITEMS, np.ones(len(ITEMS)), {})
    ray_directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's socket paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", ray_directory)
        settings = _settings(broker, bundle, scratch, standbys)
        with ExitStack() as undo:
            system = undo.enter_context(start_system(settings))
            system.wait_ready(PATIENCE_S)
            access = KafkaAccess(bootstrap_servers=system.bootstrap_servers)
            clicks = undo.enter_context(closing(Clicks(access, settings.topics.clicks)))
            running = undo.enter_context(closing(Running(settings, system, clicks, scratch)))
            running.until(running.settled, "everything in its place")
            running.until(lambda: len(running.questions.asked) > 20, "the first answers")
            running.questions.asked.clear()  # the first questions compile
            yield running
    shutil.rmtree(ray_directory, ignore_errors=True)


def _settings(broker: Broker, bundle: Path, scratch: Path, standbys: int) -> Settings:
    topic = f"clicks-{uuid.uuid4().hex[:8]}"
    return Settings(
        ray=RaySettings(cpus=2),
        kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
        topics=TopicSettings(
            clicks=topic,
            dlq=f"{topic}.dlq",
            exposures=f"{topic}.exp",
            partitions=PARTITIONS,
            create=True,
        ),
        state=StateSettings(directory=str(scratch / "state"), snapshot_interval_s=1.0),
        archive=ArchiveSettings(enabled=False),
        serving=ServingSettings(port=free_port(), admin_token=TOKEN, shards=2, standbys=standbys),
        monitoring=MonitoringSettings(port=free_port(), log_level="WARNING"),
        arms=(ArmSettings(name="main", bundle=str(bundle), weight=10_000, role="live"),),
    )
