"""What the tests of Kafka's bad days ask for: a single broker,
a cluster whose nodes and network fail, topics.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from tests.conftest import kafka_home
from tests.kafka.click_path import ClickPath
from tests.kafka.cluster_of_brokers import ClusterOfBrokers

numbers = itertools.count()


@dataclass
class Scene:
    """A broker or cluster, and a place for states."""

    access: KafkaAccess
    root: Path

    def topic(
        self, partitions: int = 1, *, nodes: list[int] | None = None, **configs: object
    ) -> str:
        """A new topic with its dead-letter topic; each partition on `nodes`,
        or on one broker that Kafka chooses.
        """
        name = f"bad-day-{next(numbers)}"
        self.make(name, partitions, nodes=nodes, **configs)
        self.make(f"{name}.dlq")
        return name

    def make(
        self, name: str, partitions: int = 1, *, nodes: list[int] | None = None, **configs: object
    ) -> None:
        """Make a topic; underscores in the names of `configs` stand for dots."""
        options: dict[str, Any] = {"configs": _dotted(configs)}
        if nodes:
            options["assignments"] = dict.fromkeys(range(partitions), nodes)
        else:
            options |= {"num_partitions": partitions, "replication_factor": 1}
        with self.admin() as admin:
            admin.create_topics({name: options}, wait_for_metadata=True)

    def configure(self, topic: str, **configs: object) -> None:
        """Change settings of a topic that is there; underscores in their names stand for dots."""
        with self.admin() as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, _dotted(configs))])

    def admin(self) -> closing[KafkaAdminClient]:
        """An admin client."""
        return closing(KafkaAdminClient(**self.access.options()))

    def path(self, topic: str, **options: Any) -> ClickPath:
        """The click's path from `topic` into a state directory that stays the same."""
        return ClickPath(
            **{
                "access": self.access,
                "topic": topic,
                "root": self.root,
                "letters": f"{topic}.dlq",
                **options,
            }
        )


def _dotted(configs: dict[str, object]) -> dict[str, str]:
    return {key.replace("_", "."): str(value) for key, value in configs.items()}


@pytest.fixture(scope="session")
def home() -> Path:
    """Where Apache Kafka is; without one, these tests are skipped."""
    if (found := kafka_home()) is None:
        pytest.skip("needs Apache Kafka: set KAFKA_HOME to an unpacked release")
    if shutil.which("java") is None:
        pytest.skip("needs Java 17 for Apache Kafka")
    return Path(found)


@pytest.fixture
def scene(home: Path, broker: Broker, tmp_path: Path) -> Scene:
    """The session's single broker, which no test harms."""
    return Scene(KafkaAccess(bootstrap_servers=broker.bootstrap_servers), tmp_path / "states")


@pytest.fixture(scope="package")
def kafka_cluster(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterOfBrokers]:
    """Three brokers, started once."""
    with ClusterOfBrokers(home, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(kafka_cluster: ClusterOfBrokers) -> Iterator[ClusterOfBrokers]:
    """The three brokers, all well before and after each test."""
    yield kafka_cluster
    kafka_cluster.heal()


@pytest.fixture
def stage(cluster: ClusterOfBrokers, tmp_path: Path) -> Scene:
    """Topics and states on the cluster."""
    return Scene(cluster.access(), tmp_path / "states")
