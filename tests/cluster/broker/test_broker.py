"""Finding, starting and stopping brokers, and saying what is wrong."""

from __future__ import annotations

import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from actors.errors import BrokerUnavailable, ConfigError
from cluster.broker import process as broker_process
from cluster.broker.broker import Broker, resolve
from cluster.broker.free_port import free_port
from cluster.broker.process import BrokerProcess
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.topics import Topic, ensure_topics
from tests.conftest import SMALL_JAVA, kafka_home

WITHOUT_KAFKA = {name: value for name, value in os.environ.items() if name != "KAFKA_HOME"}

START_AND_WAIT = """
import sys
from cluster.broker.broker import resolve
broker = resolve()
print(broker.process.pid, flush=True)
sys.stdin.read()
"""


def has_ended(pid: int, within_s: float) -> bool:
    """Whether the process ends in time, without asking again and again."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], within_s)[0])
    finally:
        os.close(watch)


def installation(home: Path, *, start: str = "exit 3", prepare: str = "exit 0") -> Path:
    """A Kafka installation whose scripts are given."""
    (home / "bin").mkdir(parents=True)
    for name, script in (("kafka-server-start.sh", start), ("kafka-storage.sh", prepare)):
        path = home / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return home


def java(directory: Path) -> dict[str, str]:
    """An environment in which some Java is found."""
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "java").write_text("#!/bin/sh\n")
    (directory / "bin" / "java").chmod(0o755)
    return {**WITHOUT_KAFKA, "JAVA_HOME": str(directory)}


@pytest.mark.broker
def test_without_settings_an_embedded_broker_starts_and_stops() -> None:
    """The default needs nothing installed;
    it answers when `resolve` returns and is gone after `stop`.
    """
    with resolve(environ=WITHOUT_KAFKA) as broker:
        assert broker.kind == "embedded"
        with KafkaAdmin(KafkaAccess(bootstrap_servers=broker.bootstrap_servers)) as admin:
            assert admin.partitions("nothing") is None
        assert broker.process is not None
    assert has_ended(broker.process.pid, 0)
    broker.stop()


@pytest.mark.broker
def test_an_external_broker_is_used_and_left_running(broker: Broker) -> None:
    """An address that answers wins over KAFKA_HOME; stopping it is none of our business."""
    address = broker.bootstrap_servers
    with resolve(
        KafkaAccess(bootstrap_servers=address), environ={"KAFKA_HOME": "/nowhere"}
    ) as external:
        assert (external.kind, external.bootstrap_servers) == ("external", address)
    with KafkaAdmin(KafkaAccess(bootstrap_servers=address)):
        pass


def test_an_unreachable_broker_is_named_within_a_bounded_time() -> None:
    """The error comes in time, with the address and what to check."""
    access = KafkaAccess(bootstrap_servers=f"127.0.0.1:{free_port()}", connect_timeout_s=1.0)
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=access.bootstrap_servers) as caught:
        resolve(access)
    assert time.monotonic() - started < 5
    assert "nothing listens there; check that the broker runs, and the port" in str(caught.value)


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["embedded", "apache"])
def test_the_broker_dies_with_its_parent(kind: str) -> None:
    """Even SIGKILL of the process that started it leaves no broker behind."""
    home = kafka_home()
    if kind == "apache" and home is None:
        pytest.skip("needs an Apache Kafka: set KAFKA_HOME")
    environ = (
        WITHOUT_KAFKA
        if kind == "embedded"
        else {**SMALL_JAVA, **os.environ, "KAFKA_HOME": str(home)}
    )
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not has_ended(pid, 0)
        parent.kill()
    assert has_ended(pid, 10)


def test_a_port_in_use_is_named() -> None:
    """The error names the port and the ways out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 cannot be used"):
            resolve(environ=WITHOUT_KAFKA, port=port)


def test_kafka_home_without_kafka_is_named(tmp_path: Path) -> None:
    """A KAFKA_HOME that points elsewhere does not silently give another broker."""
    with pytest.raises(ConfigError, match=f"KAFKA_HOME is {tmp_path}"):
        resolve(environ={"KAFKA_HOME": str(tmp_path)})


def test_missing_java_is_named(tmp_path: Path) -> None:
    """The message says what to install."""
    home = installation(tmp_path)
    with pytest.raises(ConfigError, match="install Java 17"):
        resolve(environ={"KAFKA_HOME": str(home), "PATH": str(tmp_path)})


def test_a_broker_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """Whatever the broker said last stands in the error."""
    home = installation(tmp_path / "kafka", start="echo 'the disk is full'; exit 3")
    with pytest.raises(BrokerUnavailable, match=r"(?s)ended with code 3.*the disk is full"):
        resolve(environ={**java(tmp_path / "java"), "KAFKA_HOME": str(home)})


def test_kafkas_own_settings_reach_its_scripts(tmp_path: Path) -> None:
    """LOG_DIR and KAFKA_HEAP_OPTS are honoured; without LOG_DIR,
    logs do not go into the installation.
    """
    home = installation(
        tmp_path / "kafka", start='echo "logs=$LOG_DIR heap=$KAFKA_HEAP_OPTS"; exit 3'
    )
    environ = {**java(tmp_path / "java"), "KAFKA_HOME": str(home)}
    with pytest.raises(BrokerUnavailable, match=r"logs=/my/logs heap=-Xmx1g"):
        resolve(environ={**environ, "LOG_DIR": "/my/logs", "KAFKA_HEAP_OPTS": "-Xmx1g"})
    with pytest.raises(
        BrokerUnavailable, match=rf"logs={tempfile.gettempdir()}/echorank-kafka-\w+/logs heap="
    ):
        resolve(environ=environ)


def test_a_data_directory_that_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    """Kafka's own complaint about the directory is passed on."""
    home = installation(tmp_path / "kafka", prepare="echo 'not mine' >&2; exit 1")
    with pytest.raises(BrokerUnavailable, match=r"(?s)could not prepare .*data.*not mine"):
        resolve(
            environ={**java(tmp_path / "java"), "KAFKA_HOME": str(home)},
            directory=tmp_path / "data",
        )


def test_a_broker_that_keeps_silent_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting has a bound; the silent process does not stay behind."""
    monkeypatch.setattr(broker_process, "START_TIMEOUT_S", 0.3)
    home = installation(tmp_path / "kafka", start=f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(BrokerUnavailable, match="did not answer"):
        resolve(environ={**java(tmp_path / "java"), "KAFKA_HOME": str(home)})
    assert has_ended(int((tmp_path / "pid").read_text()), 5)


def test_a_broker_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stop` ends in a bounded time in any case."""
    monkeypatch.setattr(broker_process, "STOP_TIMEOUT_S", 0.2)
    os.mkfifo(tmp_path / "ready")
    stubborn = BrokerProcess(
        "a stubborn broker",
        ["sh", "-c", f"trap '' TERM; echo > {tmp_path}/ready; exec sleep 60"],
        port=free_port(),
        environ=WITHOUT_KAFKA,
        scratch=tempfile.TemporaryDirectory(),
    )
    (tmp_path / "ready").read_text()
    stubborn.stop()
    assert has_ended(stubborn.pid, 0)


@pytest.mark.broker
@pytest.mark.skipif(kafka_home() is None, reason="needs an Apache Kafka: set KAFKA_HOME")
def test_apache_kafka_keeps_its_data_across_a_restart(tmp_path: Path) -> None:
    """With a directory of its own the data is there again, on another port too."""
    environ = {**SMALL_JAVA, **os.environ, "KAFKA_HOME": str(kafka_home())}
    with resolve(environ=environ, directory=tmp_path / "data") as broker:
        assert broker.kind == "apache"
        access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
        with KafkaAdmin(access) as admin:
            ensure_topics(admin, [Topic(name="kept", partitions=2, exact=True)])
        with producer(access) as writer:
            writer.send("kept", b"value", partition=1).get(10)
    with (
        resolve(environ=environ, directory=tmp_path / "data") as again,
        KafkaAdmin(KafkaAccess(bootstrap_servers=again.bootstrap_servers)) as admin,
    ):
        assert admin.partitions("kept") == 2
