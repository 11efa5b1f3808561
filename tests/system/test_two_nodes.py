"""A system on two Ray nodes: processes find each other by addresses that other machines can use."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import ray

from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.lifecycle.system import System
from cluster.operate.client import Client
from cluster.settings.config import Settings
from cluster.settings.serving import MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from cluster.wiring.start import start_system
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from tests.ray_nodes import add_node, head_node

pytestmark = [pytest.mark.ray, pytest.mark.broker]

OTHER_NODE = "127.0.0.2"  # every address of 127.0.0.0/8 is this machine's
PARTITIONS = 2


def _load() -> Callable[[str], Bundle]:
    """A loader that pickles by value: actors cannot import this file."""
    return lambda _path: random_bundle(
        ModelConfig(), tuple(f"item-{number}" for number in range(20))
    )


@pytest.fixture
def nodes() -> Iterator[str]:
    """A head without processors and a node with some; the cluster's address."""
    directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's socket paths must be short
    cluster = head_node(Path(directory))
    add_node(cluster, OTHER_NODE, cpus=2)
    yield cluster.address
    cluster.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def system(nodes: str, broker: Broker, tmp_path: Path) -> Iterator[System]:
    """A system that listens on all addresses, started from the head."""
    topic = f"clicks-{tmp_path.name}"
    settings = Settings(
        ray=RaySettings(address=nodes),
        kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
        topics=TopicSettings(
            clicks=topic,
            dlq=f"{topic}.dlq",
            exposures=f"{topic}.exp",
            partitions=PARTITIONS,
            create=True,
        ),
        state=StateSettings(directory=str(tmp_path)),
        archive=ArchiveSettings(directory=str(tmp_path / "archive")),
        serving=ServingSettings(host="0.0.0.0", port=free_port(), shards=1),
        monitoring=MonitoringSettings(host="0.0.0.0", port=free_port()),
    )
    with start_system(settings, load=_load()) as started:
        started.wait_ready(60)
        yield started


async def test_the_gateway_reaches_shards_on_another_node(system: System) -> None:
    """Gateway, coordinator and ingest are where the system was started;
    the rest has the address of its node.
    """
    async with Client(
        system.gateway_address.replace("0.0.0.0", "127.0.0.1"), timeout_s=10
    ) as client:
        routing = await client.routing()
        assert {route.address.rpartition(":")[0] for route in routing.routes} == {OTHER_NODE}
        assert len((await client.score("user", ["item-1", "item-2"])).probabilities) == 2
    with urlopen(
        f"http://{system.monitoring_address.replace('0.0.0.0', '127.0.0.1')}/sd", timeout=5
    ) as answer:
        groups = json.load(answer)
    hosts = {
        group["labels"]["instance"]: group["targets"][0].rpartition(":")[0] for group in groups
    }
    beside = {hosts.pop(name) for name in ("gateway", "coordinator", "ingest-0")}
    assert beside == {ray.util.get_node_ip_address()}
    assert set(hosts.values()) == {OTHER_NODE}
