"""A system with a backlog: it stays up for as long as that takes,
says how far it is, and answers meanwhile.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors.errors import EchoRankError, ShardUnavailable
from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.kafka.clients import KafkaAdmin
from cluster.kafka.topics import ensure_topics
from cluster.lifecycle import system
from cluster.lifecycle.system import System
from cluster.operate.client import Client
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.settings.serving import MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from cluster.wiring.start import start_system
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from tests.system.sent_clicks import PARTITIONS, USERS, Clicks
from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.broker]

BACKLOG = 500
ITEMS = tuple(f"item-{number}" for number in range(100))


@pytest.fixture
def settings(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """One shard, which is ready when it is ten records behind."""
    directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's socket paths must be short
    monkeypatch.setenv("RAY_TMPDIR", directory)
    topic = f"clicks-{tmp_path.name}"
    yield Settings(
        ray=RaySettings(cpus=2),
        kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
        topics=TopicSettings(
            clicks=topic, dlq=f"{topic}.dlq", exposures=f"{topic}.exp", partitions=PARTITIONS
        ),
        state=StateSettings(directory=str(tmp_path / "state")),
        archive=ArchiveSettings(directory=str(tmp_path / "archive")),
        serving=ServingSettings(port=free_port(), shards=1, ready_lag_records_max=10),
        monitoring=MonitoringSettings(port=free_port()),
    )
    shutil.rmtree(directory, ignore_errors=True)


def folding_once(gate: Path) -> Callable[[str], Bundle]:
    """A loader, pickled by value, of a shard that folds nothing until the file `gate` is there."""

    def load(_: str) -> Bundle:
        from actors.errors import ShardUnavailable  # noqa: PLC0415
        from actors.shard.shard import Shard  # noqa: PLC0415

        apply = Shard.apply

        def held(*arguments: Any, **options: Any) -> Any:
            if not gate.exists():
                raise ShardUnavailable("held back by the test")
            return apply(*arguments, **options)

        if ray.is_initialized():  # not in the process of the test
            Shard.apply = held  # type: ignore[method-assign]
        return random_bundle(ModelConfig(), ITEMS)

    return load


async def test_a_backlog_is_caught_up_with_for_as_long_as_it_takes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than any patience: NOT_SERVING, with stale answers and progress;
    then ready, and nothing is missing.
    """
    monkeypatch.setattr(system, "SAY_S", 0.5)
    access = for_parts.access(settings)
    gate = tmp_path / "gate"
    with KafkaAdmin(access) as admin:
        ensure_topics(admin, for_parts.topics(settings, own_broker=True))
    said: list[str] = []
    with closing(Clicks(access, settings.topics.clicks)) as clicks, ThreadPoolExecutor(1) as pool:
        clicks.send(BACKLOG)
        with start_system(settings, load=folding_once(gate)) as started:
            waiting = pool.submit(started.wait_ready, None, said.append)
            try:
                await until(
                    lambda: (
                        waiting.done() or any(f"{BACKLOG} records behind" in line for line in said)
                    )
                )
                assert not waiting.done()
                assert f"{PARTITIONS} partitions not ready" in said[-1]
                async with Client(started.gateway_address, timeout_s=10) as client:
                    assert (await client.score(USERS[0], ITEMS[:3])).origin.stale
                assert await health(started) == health_pb2.HealthCheckResponse.NOT_SERVING
                with pytest.raises(ShardUnavailable, match=r"not ready after 0.5 s: partitions"):
                    await asyncio.to_thread(started.wait_ready, 0.5)
                assert not waiting.done()
            finally:
                gate.touch()
            await asyncio.wrap_future(waiting)
            assert await health(started) == health_pb2.HealthCheckResponse.SERVING
            await until(lambda: started.positions() == clicks.ends)
            started.check_alive()
            ray.kill(ray.get_actor("ingest-0"), no_restart=True)
            await until(lambda: "ingest-0 has ended for good" in trouble(started), within_s=20)


async def health(started: System) -> int:
    """What the gateway says of itself."""
    async with grpc.aio.insecure_channel(started.gateway_address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=5
        )
    return int(answer.status)


def trouble(started: System) -> str:
    """Which actor is missing, in words."""
    try:
        started.check_alive()
    except EchoRankError as error:
        return str(error)
    return ""
