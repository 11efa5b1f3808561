"""What every test may ask for: a broker, and signals that do what they usually do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from cluster.broker.broker import Broker, resolve
from cluster.lifecycle import forks

# Small and quick to start rather than fast: 150 MB and 3 CPU seconds a broker. Settings from
# outside come first.
SMALL_JAVA = {
    "KAFKA_HEAP_OPTS": "-Xms64m -Xmx192m",
    "KAFKA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
NEIGHBOUR = Path(__file__).resolve().parents[2] / "shared" / "kafka"


def kafka_home() -> str | None:
    """Where an Apache Kafka is: KAFKA_HOME, else a checkout's neighbour, else nowhere."""
    return os.environ.get("KAFKA_HOME") or (str(NEIGHBOUR) if NEIGHBOUR.is_dir() else None)


def pytest_configure() -> None:
    """Fork as the command line does, before any test imports gRPC; what an example takes says more
    of the machine than of the code.
    """
    forks.only_to_exec()
    hypothesis.settings.register_profile("shared machine", deadline=None)
    hypothesis.settings.load_profile("shared machine")


def pytest_report_header() -> str:
    """Say which broker the tests run against."""
    home = kafka_home()
    return (
        f"broker: Apache Kafka from {home}"
        if home
        else "broker: embedded (set KAFKA_HOME for Apache Kafka)"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Share tests out by file (`pytest -n 2 --dist loadgroup`);
    those that start a Ray cluster stay together.

    So one cluster runs at a time, two fifths of the whole time, and the others use what it leaves
    of the cores.
    """
    item.add_marker(
        pytest.mark.xdist_group("ray" if item.get_closest_marker("ray") else item.location[0])
    )


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One broker for all tests, Apache Kafka where there is one;
    each test makes topics of its own.
    """
    environ = SMALL_JAVA | {
        name: value for name, value in os.environ.items() if name != "KAFKA_HOME"
    }
    if home := kafka_home():
        environ["KAFKA_HOME"] = home
    with resolve(environ=environ) as started:
        yield started


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM do what they do in a new Python process,
    here and in each process that is started here.

    Elsewhere a test run has what others left: Ctrl-C ignored, where a script started it in the
    background, which programs that it starts inherit, or Ray Train's handler.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
