"""What is under test, with everything that may break: Kafka, Ray nodes,
disks, and the running system.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from actors.clicks.partitioner import partition_of
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from cluster import scrape
from cluster.broker.free_port import free_port
from cluster.kafka.access import KafkaAccess
from cluster.lifecycle.system import System
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings, MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from cluster.wiring.start import start_system
from model.bundle.bundle import Bundle
from model.bundle.load import load_bundle
from model.config import ModelConfig
from model.network.export import write_bundle
from model.state import layout
from tests.chaos.recovery import Gateway, until
from tests.chaos.targets.brokers import OneBroker, SeveralBrokers
from tests.chaos.targets.disks import SlowDisk, SmallDisk
from tests.chaos.targets.nodes import Nodes

ARM = "main"
BYTES_PER_USER = layout(ModelConfig()).row_bytes + BYTES_BESIDE_ROW_MAX
NODES = 2
DISK_BYTES = 192 << 20
READY_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How large the system under test is."""

    partitions: int = 6
    shards: int = 2
    users: int = 600
    items: int = 200
    snapshot_interval_s: float = 1.0  # often, so that faults strike while one is written
    standbys: int = 0
    brokers: int = 1
    # users of a partition that are in memory, the others wait on disk; None: all
    memory_rows: int | None = None

    @property
    def users_all(self) -> int:
        """How many users take part: four for each that fits in memory, if few do."""
        return max(self.users, 4 * self.partitions * (self.memory_rows or 0))

    @property
    def memory_bytes_max(self) -> int | None:
        """Of a shard: what these rows take in all partitions that it should hold."""
        if self.memory_rows is None:
            return None
        held = math.ceil(self.partitions * (1 + self.standbys) / self.shards)
        return self.memory_rows * held * BYTES_PER_USER


class Stage:
    """Everything started and ready; a context manager that leaves nothing behind."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.users = [f"user-{number}" for number in range(deployment.users_all)]
        with ExitStack() as undo:
            # Ray's socket paths must be short
            self._scratch = scratch = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
            undo.callback(shutil.rmtree, scratch, ignore_errors=True)
            aside = undo.enter_context(ThreadPoolExecutor(1))
            # while brokers and nodes start
            bundle = aside.submit(_untrained, scratch / "bundle", deployment.items)
            self.small_disk = SmallDisk(scratch / "disk", DISK_BYTES)
            undo.callback(self.small_disk.close)
            self.slow_disk = SlowDisk(scratch / "slow")
            undo.callback(_set_environment("PYTHONPATH", str(self.slow_disk.path)))
            kafka = scratch / "kafka"
            self.kafka = (
                SeveralBrokers(kafka, deployment.brokers)
                if deployment.brokers > 1
                else OneBroker(kafka)
            )
            undo.callback(self.kafka.stop)
            self.nodes = Nodes(scratch / "ray", NODES)
            undo.callback(self.nodes.close)
            self.bundle = bundle.result()
            self.settings = self._settings(scratch)
            self.system = self._started()
            undo.callback(self._stop)
            self._undo = undo.pop_all()

    @property
    def address(self) -> str:
        """The gateway's, as a client on this machine uses it."""
        return self.system.asked_at

    @property
    def access(self) -> KafkaAccess:
        """The brokers, for clients."""
        return KafkaAccess(bootstrap_servers=self.kafka.address)

    @property
    def gateway(self) -> Gateway:
        """The system as it looks from outside."""
        return Gateway(
            self.address,
            {partition_of(user, self.deployment.partitions): user for user in self.users},
        )

    def users_cold(self) -> int:
        """How many users wait on disk, in all shards."""
        return sum(self._counted("echorank_state_users", tier="cold").values())

    def failed_writes(self) -> dict[str, int]:
        """Snapshots that could not be written, by shard; one that starts anew counts from 0."""
        return self._counted("echorank_snapshot_failures_total", reason="write")

    def unavailable_scores(self) -> int:
        """Attempts at Score that the gateway answered UNAVAILABLE; clients retry some of them."""
        counted = self._counted("echorank_requests_total", method="Score", code="UNAVAILABLE")
        return counted.get("gateway", 0)

    def scale_back(self) -> None:
        """As many shards as usual; returns when each has its share."""
        usual = self.deployment.shards
        until(
            lambda: self.gateway.scaled(usual),
            f"{usual} shards again",
            time.monotonic() + READY_S,
            self.nodes.mend,
        )

    def restart_system(self) -> None:
        """Stop the system gently and start it from what it has saved."""
        self.system.stop()
        self.system = self._started()

    def _stop(self) -> None:
        self.system.stop()  # the one that runs now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def _counted(self, metric: str, **labels: str) -> dict[str, int]:
        """A counter with these labels, of each process that shows it."""
        scraped = scrape.scrape(self.system.scraped_at)
        return {
            process.labels["instance"]: int(value)
            for process in scraped
            for found, value in scrape.values([process], metric)
            if labels.items() <= found.items()
        }

    def _started(self) -> System:
        system = start_system(self.settings)
        try:
            system.wait_ready(READY_S)
        except BaseException:
            system.stop()
            raise
        return system

    def _settings(self, scratch: Path) -> Settings:
        deployment = self.deployment
        topic = f"clicks-{uuid.uuid4().hex[:8]}"
        disk = self.small_disk.path
        return Settings(
            ray=RaySettings(address=self.nodes.address),
            kafka=KafkaSettings(bootstrap_servers=self.kafka.address),
            topics=TopicSettings(
                clicks=topic,
                dlq=f"{topic}.dlq",
                exposures=f"{topic}.exp",
                partitions=deployment.partitions,
                replication_factor=deployment.brokers,
                create=True,
            ),
            state=StateSettings(
                directory=str(disk / "state"),
                snapshot_interval_s=deployment.snapshot_interval_s,
                memory_bytes_max=deployment.memory_bytes_max,
                cold_directory=str(scratch / "cold"),
            ),
            arms=(
                ArmSettings(name=ARM, bundle=str(scratch / "bundle"), weight=10_000, role="live"),
            ),
            archive=ArchiveSettings(directory=str(disk / "archive"), roll_s=2.0),
            serving=ServingSettings(
                host="0.0.0.0",
                port=free_port(),
                shards=deployment.shards,
                standbys=deployment.standbys,
            ),
            monitoring=MonitoringSettings(host="0.0.0.0", port=free_port(), log_level="WARNING"),
        )


def _untrained(path: Path, items: int) -> Bundle:
    """A published model without training;
    writing and checking it compiles whatever actors will run.
    """
    from model.network.network import Network  # noqa: PLC0415 - brings PyTorch

    names = tuple(f"item-{number}" for number in range(items))
    write_bundle(path, Network(ModelConfig(), items).eval(), names, np.ones(items), {})
    return load_bundle(path)


def _set_environment(name: str, first: str) -> functools.partial[None]:
    """Put `first` in front of a path variable; what undoes it."""
    before = os.environ.get(name)
    os.environ[name] = os.pathsep.join(filter(None, (first, before)))
    return functools.partial(_restore_environment, name, before)


def _restore_environment(name: str, value: str | None) -> None:
    if value is None:
        del os.environ[name]
    else:
        os.environ[name] = value
