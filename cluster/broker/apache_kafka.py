"""Apache Kafka from an installation: one KRaft node, broker and controller,
with a data directory of its own.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from actors.errors import BrokerUnavailable, ConfigError
from cluster.broker.free_port import HOST, choose_port, free_port
from cluster.broker.process import BrokerProcess

FORMAT_TIMEOUT_S = 60.0

# One node holds every internal topic, a killed broker may register again after 3 s instead of 9,
# and compaction takes 16 MB of memory instead of 128.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=16777216
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


def start_apache(
    home: Path, environ: Mapping[str, str], *, directory: Path | None, port: int | None
) -> tuple[str, Literal["apache"], BrokerProcess]:
    """Start a node and wait until it answers; the address, the kind and the process.

    `directory` keeps the data across restarts. LOG_DIR (where Kafka's scripts write their logs) and
    KAFKA_HEAP_OPTS are honoured as in Kafka's own scripts.

    Raises:
        ConfigError: `home` holds no Kafka, Java is missing, or the port is taken.
        BrokerUnavailable: the data directory could not be formatted, or the node ended or kept
            silent.
    """
    _check_installation(home, environ)
    port = choose_port(port)
    controller_port = free_port()
    with ExitStack() as undo:
        scratch = tempfile.TemporaryDirectory(prefix="echorank-kafka-")
        undo.callback(scratch.cleanup)
        data = (directory or Path(scratch.name) / "data").resolve()
        properties = Path(scratch.name) / "server.properties"
        properties.write_text(
            PROPERTIES.format(host=HOST, port=port, controller_port=controller_port, data=data)
        )
        environ = {"LOG_DIR": str(Path(scratch.name) / "logs"), **environ}
        if not (data / "meta.properties").exists():
            format_data(home, properties, data, environ, cluster=new_cluster_id())
        undo.pop_all()
    process = BrokerProcess(
        f"Apache Kafka from {home}",
        [str(home / "bin" / "kafka-server-start.sh"), str(properties)],
        port=port,
        environ=environ,
        scratch=scratch,
    )
    process.wait_until_it_answers()
    return process.address, "apache", process


def new_cluster_id() -> str:
    """A random id as Kafka wants it: 22 characters of base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def format_data(
    home: Path, properties: Path, data: Path, environ: Mapping[str, str], *, cluster: str
) -> None:
    """Prepare the empty directory `data`,
    which `properties` names as its log directory, for a node of `cluster`.

    Raises:
        BrokerUnavailable: Kafka refuses; the message holds its complaint.
    """
    data.mkdir(parents=True, exist_ok=True)
    command = [
        str(home / "bin" / "kafka-storage.sh"),
        "format",
        "-t",
        cluster,
        "-c",
        str(properties),
    ]
    result = subprocess.run(  # noqa: S603 - the command is the configured KAFKA_HOME's
        command,
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=FORMAT_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise BrokerUnavailable(
            f"Apache Kafka could not prepare {data} (code {result.returncode}); it must be empty "
            f"and writable. kafka-storage.sh says:\n{(result.stdout + result.stderr)[-2000:]}"
        )


def _check_installation(home: Path, environ: Mapping[str, str]) -> None:
    if not (home / "bin" / "kafka-server-start.sh").is_file():
        raise ConfigError(
            f"KAFKA_HOME is {home}, but there is no {home}/bin/kafka-server-start.sh; point it to "
            "an unpacked Kafka release, or unset it to use the embedded broker"
        )
    java_home = environ.get("JAVA_HOME")
    java = f"{java_home}/bin/java" if java_home else "java"
    if shutil.which(java, path=environ.get("PATH")) is None:
        raise ConfigError(
            f"KAFKA_HOME is {home}, but there is no {java} to run Kafka with; install Java 17 or "
            "later (Debian: apt install openjdk-17-jre-headless), or unset KAFKA_HOME to use the "
            "embedded broker"
        )
