"""Several Apache Kafka brokers on this machine whose processes and network can be made to fail."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from cluster.broker.apache_kafka import format_data, new_cluster_id
from cluster.broker.free_port import HOST, free_port
from cluster.broker.process import BrokerProcess
from cluster.kafka.access import KafkaAccess
from tests.conftest import SMALL_JAVA
from tests.kafka.tcp_proxy import TcpProxy

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.timeout.ms=500
listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{behind},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{proxied}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
replica.lag.time.max.ms=2000
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.segment.delete.delay.ms=100
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=200
num.network.threads=2
num.io.threads=4
num.partitions=1
"""


@dataclass
class Node:
    """One broker: its files, its ports, and its process if it runs."""

    number: int
    directory: Path
    port: int = field(default_factory=free_port)
    behind: int = field(default_factory=free_port)  # where the proxy finds it
    controller: int = field(default_factory=free_port)
    proxied: int = field(default_factory=free_port)
    process: BrokerProcess | None = None
    frozen: bool = False

    @property
    def properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"node {self.number} does not run"
        os.kill(self.process.pid, number)


class ClusterOfBrokers:
    """`nodes` brokers that are controllers too; a context manager. Nodes are numbered from 1.

    Clients that start from `bootstrap_servers` reach the brokers directly, those that start from
    `proxied` go through `proxies[node]`, whose behaviour a test chooses, and do so for every broker
    they learn of.
    """

    def __init__(
        self, home: Path, directory: Path, *, nodes: int = 3, replicas: int = 3, extra: str = ""
    ) -> None:
        self._home = home
        self._replicas = min(replicas, nodes)
        self._extra = extra
        self.nodes = {
            number: Node(number, directory / f"node-{number}") for number in range(1, nodes + 1)
        }
        self.proxies = {
            number: TcpProxy(node.proxied, node.behind) for number, node in self.nodes.items()
        }
        self._cluster = new_cluster_id()

    @property
    def bootstrap_servers(self) -> str:
        """Every broker's own address."""
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes.values())

    @property
    def proxied(self) -> str:
        """Every broker's address behind its proxy."""
        return ",".join(proxy.address for proxy in self.proxies.values())

    def access(self, *, proxied: bool = False, **options: float) -> KafkaAccess:
        """How to reach the brokers, directly or through the proxies."""
        return KafkaAccess(
            bootstrap_servers=self.proxied if proxied else self.bootstrap_servers, **options
        )  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(self._prepare, self.nodes))
            for number in self.nodes:
                self.launch(number)
            for number in self.nodes:
                self.wait(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            if node.process is not None:
                node.signal(signal.SIGKILL)
                node.process.stop()
                node.process = None
        for proxy in self.proxies.values():
            proxy.close()

    def start(self, number: int) -> None:
        """Start a node that does not run, and wait until it answers."""
        self.launch(number)
        self.wait(number)

    def wait(self, number: int) -> None:
        """Return when the node answers."""
        process = self.nodes[number].process
        assert process is not None
        process.wait_until_it_answers()

    def terminate(self, number: int) -> None:
        """SIGTERM: the node hands its partitions over and ends."""
        self.thaw(number)
        self._ended(number)

    def kill(self, number: int) -> None:
        """SIGKILL: the node ends where it stands."""
        self.nodes[number].signal(signal.SIGKILL)
        self._ended(number)

    def restart(self, number: int) -> None:
        """SIGTERM, and start it again."""
        self.terminate(number)
        self.start(number)

    def relaunch(self, number: int) -> None:
        """Start a node again that ended by itself, without waiting."""
        process = self.nodes[number].process
        assert process is not None
        assert not process.runs
        self._ended(number)
        self.launch(number)

    def freeze(self, number: int) -> None:
        """SIGSTOP: connections stay, and nothing answers."""
        self.nodes[number].signal(signal.SIGSTOP)
        self.nodes[number].frozen = True

    def thaw(self, number: int) -> None:
        """SIGCONT: it goes on where it stood, and may find that others have taken over."""
        self.nodes[number].signal(signal.SIGCONT)
        self.nodes[number].frozen = False

    def heal(self) -> None:
        """Let every node run and every proxy pass."""
        for number, node in self.nodes.items():
            self.proxies[number].be("pass")
            if node.frozen:
                self.thaw(number)
        for number, node in self.nodes.items():
            if node.process is None:
                self.start(number)

    def leader(
        self,
        topic: str,
        partition: int = 0,
        *,
        other_than: int | None = None,
        within_s: float = 20.0,
    ) -> int:
        """The node that leads a partition; waits until there is one other than `other_than`."""
        deadline = time.monotonic() + within_s
        while (leader := self._leader(topic, partition)) in (None, other_than):
            assert time.monotonic() < deadline, f"{topic}-{partition} has no leader but {leader}"
        assert leader is not None
        return leader

    def _leader(self, topic: str, partition: int) -> int | None:
        """What some broker that can answer says; None if there is no leader, or no answer."""
        alive = [
            f"{HOST}:{n.port}"
            for n in self.nodes.values()
            if n.process is not None and not n.frozen
        ]
        access = KafkaAccess(
            bootstrap_servers=",".join(alive), request_timeout_s=1.0, connect_timeout_s=1.0
        )
        try:
            with closing(KafkaAdminClient(**access.options())) as admin:
                # a new one, which knows no frozen node yet
                [described] = admin.describe_topics([topic])
        except KafkaError:
            return None
        leaders = {
            found["partition_index"]: found["leader_id"] for found in described["partitions"]
        }
        return None if leaders.get(partition, -1) < 0 else int(leaders[partition])

    def _prepare(self, number: int) -> None:
        node = self.nodes[number]
        node.directory.mkdir(parents=True)
        text = PROPERTIES.format(
            node=number,
            voters=",".join(f"{n.number}@{HOST}:{n.controller}" for n in self.nodes.values()),
            host=HOST,
            port=node.port,
            behind=node.behind,
            controller=node.controller,
            proxied=node.proxied,
            data=node.data,
            replicas=self._replicas,
        )
        # of a setting that stands twice, Kafka takes the last
        node.properties.write_text(text + self._extra)
        format_data(
            self._home, node.properties, node.data, self._environ(node), cluster=self._cluster
        )

    def launch(self, number: int) -> None:
        """Start a node that does not run, without waiting; from the main thread,
        so that it dies with this process.
        """
        node = self.nodes[number]
        assert node.process is None, f"node {number} runs already"
        node.process = BrokerProcess(
            f"Apache Kafka node {number}",
            [str(self._home / "bin" / "kafka-server-start.sh"), str(node.properties)],
            port=node.port,
            environ=self._environ(node),
            scratch=tempfile.TemporaryDirectory(prefix=f"echorank-node-{number}-"),
        )

    def _ended(self, number: int) -> None:
        node = self.nodes[number]
        assert node.process is not None
        # `stop` removes the original
        shutil.copy(node.process.log_path, node.directory / "last.log")
        node.process.stop()
        node.process = None
        node.frozen = False

    def _environ(self, node: Node) -> dict[str, str]:
        return {**SMALL_JAVA, **os.environ, "LOG_DIR": str(node.directory / "logs")}
