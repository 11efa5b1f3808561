"""Apache Kafka as one broker that dies and comes back, or as three of which one may be missing."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from actors.errors import ConfigError
from cluster.broker.broker import Broker, resolve
from cluster.broker.free_port import free_port
from cluster.kafka.access import KafkaAccess
from tests.chaos.recovery import until
from tests.conftest import kafka_home
from tests.kafka.cluster_of_brokers import ClusterOfBrokers

QUICK_START = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
HEAP = "-Xms128m -Xmx256m"  # of a broker with two cores and little to do
IN_SYNC_S = 60.0


class OneBroker:
    """Can be killed and started again with its data, at its address."""

    replicas = 1

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._environ = {
            "KAFKA_HEAP_OPTS": HEAP,
            "KAFKA_JVM_PERFORMANCE_OPTS": QUICK_START,
            **os.environ,
            "KAFKA_HOME": str(_home()),
        }
        self._broker = self._started()

    @property
    def address(self) -> str:
        """host:port."""
        return self._broker.bootstrap_servers

    def kill(self) -> None:
        """SIGKILL."""
        assert self._broker.process is not None
        os.kill(self._broker.process.pid, signal.SIGKILL)

    def restart(self) -> None:
        """Start it again and return when it answers; from the main thread,
        so that it ends with this process.
        """
        self._broker.stop()
        self._broker = self._started()

    def stop(self) -> None:
        """End it."""
        self._broker.stop()

    def _started(self) -> Broker:
        return resolve(environ=self._environ, directory=self._directory, port=self._port)


class SeveralBrokers:
    """Each partition is on all of them; one may be killed while the others go on."""

    def __init__(self, directory: Path, brokers: int) -> None:
        self.replicas = brokers
        self._cluster = ClusterOfBrokers(_home(), directory, nodes=brokers, replicas=brokers)
        self._cluster.__enter__()

    @property
    def address(self) -> str:
        """host:port of each."""
        return self._cluster.bootstrap_servers

    def kill_leader(self, topic: str, partition: int) -> int:
        """SIGKILL of the broker that leads a partition; its number."""
        leader = self._cluster.leader(topic, partition)
        self._cluster.kill(leader)
        return leader

    def start(self, number: int, topic: str) -> None:
        """Start it again and return when it has all of a topic: until then,
        the next death could lose clicks.
        """
        self._cluster.start(number)
        until(
            lambda: self._in_sync(topic),
            f"every broker to have all of {topic}",
            time.monotonic() + IN_SYNC_S,
        )

    def stop(self) -> None:
        """End them."""
        self._cluster.__exit__()

    def _in_sync(self, topic: str) -> bool:
        try:
            with closing(
                KafkaAdminClient(**KafkaAccess(bootstrap_servers=self.address).options())
            ) as admin:
                [described] = admin.describe_topics([topic])
        except KafkaError:
            return False
        return all(len(found["isr_nodes"]) == self.replicas for found in described["partitions"])


def _home() -> Path:
    home = kafka_home()
    if home is None:
        raise ConfigError("there is no Apache Kafka: set KAFKA_HOME to an installation of it")
    return Path(home)
