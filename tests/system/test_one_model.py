"""A bundle that is replaced while two shards serve it: one arm never answers with two models."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.errors import ShardUnavailable
from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.lifecycle.system import System
from cluster.operate.client import Client
from cluster.operate.status_report import gather
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings, MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from cluster.wiring.start import start_system
from model.bundle.load import load_bundle
from model.config import ModelConfig
from model.network.export import write_bundle
from model.network.network import Network

pytestmark = [pytest.mark.ray, pytest.mark.broker, pytest.mark.timeout(500)]

ITEMS = tuple(f"item-{number}" for number in range(20))
USERS = [f"user-{number}" for number in range(40)]
PATIENCE_S = 120.0


def publish(path: Path) -> str:
    """A model of its own."""
    return write_bundle(
        path, Network(ModelConfig(), len(ITEMS)).eval(), ITEMS, np.ones(len(ITEMS)), {}
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What both shards serve."""
    publish(tmp_path / "main")
    return tmp_path / "main"


@pytest.fixture
def system(broker: Broker, bundle: Path, tmp_path: Path) -> Iterator[System]:
    """Two shards, four partitions."""
    topic = f"clicks-{uuid.uuid4().hex[:8]}"
    ray_directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's socket paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", ray_directory)
        settings = Settings(
            ray=RaySettings(cpus=2),
            kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
            topics=TopicSettings(
                clicks=topic,
                dlq=f"{topic}.dlq",
                exposures=f"{topic}.exp",
                partitions=4,
                create=True,
            ),
            state=StateSettings(directory=str(tmp_path / "state")),
            archive=ArchiveSettings(enabled=False),
            serving=ServingSettings(port=free_port(), shards=2),
            monitoring=MonitoringSettings(port=free_port()),
            arms=(ArmSettings(name="main", bundle=str(bundle), weight=10_000, role="live"),),
        )
        with start_system(settings) as started:
            started.wait_ready(60)
            yield started
    shutil.rmtree(ray_directory, ignore_errors=True)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when it holds; what it asks takes its time, so this does not spin."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0)


async def test_one_arm_has_one_model_whatever_is_done_to_its_files(
    system: System, bundle: Path
) -> None:
    """Published over: the restarted shard takes the kept copy. Replaced by hand:
    it refuses, says so, and recovers.
    """
    served = load_bundle(bundle).version
    publish(bundle)
    pids = system.shard_pids()
    os.kill(pids["shard-1"], signal.SIGKILL)

    async def restarted() -> bool:
        try:
            return (await asyncio.to_thread(system.shard_pids))["shard-1"] != pids["shard-1"]
        except ShardUnavailable:
            return False

    await eventually(restarted)
    system.wait_ready(PATIENCE_S)
    async with Client(system.gateway_address, timeout_s=PATIENCE_S) as client:

        async def versions() -> set[str]:
            answers = [await client.score(user, ITEMS) for user in USERS]
            return {answer.origin.model_version for answer in answers}

        assert (
            await versions()
            == {served}
            == {arm.model_version for arm in (await client.routing()).arms}
        )
        kept = next(each for each in bundle.parent.iterdir() if each.name == f".main.{served}")
        away = kept.rename(bundle.parent / "away")
        os.kill(system.shard_pids()["shard-1"], signal.SIGKILL)

        async def refuses() -> bool:
            report = await gather(client, system.monitoring_address)
            return any(
                "shard-1 serves nothing: its bundles" in warning for warning in report.warnings
            )

        await eventually(refuses)
        assert await versions() == {served}  # of the other shard, which has taken over
        shutil.rmtree(bundle)
        shutil.copytree(away, bundle)

        async def mended() -> bool:
            return not await refuses()

        await eventually(mended)
        system.wait_ready(PATIENCE_S)
        assert await versions() == {served}
