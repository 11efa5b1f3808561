"""The watch beside the log, with brokers that answer, do not answer, or have changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from actors.clock import ManualClock
from actors.errors import BrokerUnavailable
from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.log_watch import SILENT_S, LogWatch, watch_kafka
from cluster.kafka.topics import Topic, ensure_topics
from monitoring.metrics import Metrics
from tests.actors.click_log import sample

DOWN = BrokerUnavailable("nobody answers")


@dataclass
class FakeAdmin:
    """A topic whose partitions have leaders, of which some do not answer."""

    led: dict[int, int]
    written: dict[int, int] = field(default_factory=dict)
    readable: dict[int, int] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    unreachable: bool = False
    opened: int = 0
    closed: int = 0

    def open(self) -> FakeAdmin:
        if self.unreachable:
            raise DOWN
        self.opened += 1
        return self

    def leaders(self, topic: str) -> dict[int, int]:
        if self.unreachable:
            raise DOWN
        return dict(self.led)

    def ends(self, topic: str, partitions: Iterable[int], *, committed: bool) -> dict[int, int]:
        if any(self.led[partition] in self.dead for partition in partitions):
            raise DOWN
        ends = self.readable if committed else self.written
        return {partition: ends.get(partition, 0) for partition in partitions}

    def close(self) -> None:
        self.closed += 1


class Rig:
    """A watch over a fake topic with partitions 0 and 2, of four that are expected."""

    def __init__(self, admin: FakeAdmin) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.clock = ManualClock()
        self.watch = LogWatch(admin.open, "clicks", 4, [0, 2], self.metrics, self.clock)

    def sample(self, name: str, **labels: str) -> float:
        return sample(self.metrics, name, **labels)


def test_a_leader_that_is_silent_shows_and_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its partitions' silence grows, those of other leaders are heard,
    and its return is reported too.
    """
    admin = FakeAdmin({0: 1, 1: 1, 2: 2, 3: 2})
    r = Rig(admin)
    admin.dead.add(2)
    for _ in range(3):
        r.clock.advance(SILENT_S / 2)
        r.watch.look()
    assert r.sample("log_silence_seconds", partition="0") == 0
    assert r.sample("log_silence_seconds", partition="2") == 1.5 * SILENT_S
    assert caplog.text.count("where partitions [2] end, so nothing is read from them") == 1
    admin.dead.clear()
    r.watch.look()
    assert r.sample("log_silence_seconds", partition="2") == 0
    assert "topic clicks: partitions [2] answer again" in caplog.text


@pytest.mark.parametrize("led", [{}, {0: -1, 1: 1, 2: -1, 3: 1}])
def test_no_topic_and_no_leader_are_silence(
    led: dict[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Who has no leader says nothing."""
    r = Rig(FakeAdmin(led))
    r.clock.advance(SILENT_S)
    r.watch.look()
    assert "where partitions [0, 2] end" in caplog.text


def test_unreachable_brokers_are_connected_to_again() -> None:
    """The watch needs no broker to begin with, and takes a new connection after each failure."""
    admin = FakeAdmin({0: 1, 2: 1}, unreachable=True)
    r = Rig(admin)
    r.watch.look()
    admin.unreachable = False
    r.watch.look()
    admin.unreachable = True
    r.clock.advance(3.0)
    r.watch.look()
    assert (admin.opened, admin.closed) == (1, 1)
    assert r.sample("log_silence_seconds", partition="0") == 3.0
    admin.unreachable = False
    r.watch.look()
    assert r.sample("log_silence_seconds", partition="0") == 0
    r.watch.close()
    assert (admin.opened, admin.closed) == (2, 2)


def test_open_transactions_and_added_partitions_show() -> None:
    """What is written but not to be read yet is counted,
    and so are partitions that nobody reads.
    """
    admin = FakeAdmin({0: 1, 2: 1}, written={0: 30, 2: 7}, readable={0: 10, 2: 7})
    r = Rig(admin)
    r.watch.look()
    assert r.sample("log_held_back_records", partition="0") == 20
    assert r.sample("log_held_back_records", partition="2") == 0
    assert r.sample("unread_partitions") == 0
    admin.led = dict.fromkeys(range(6), 1)
    r.watch.look()
    assert r.sample("unread_partitions") == 2


def test_it_says_where_partitions_end_while_it_knows() -> None:
    """What may be read ends before an open transaction; who is silent for long is left out."""
    admin = FakeAdmin({0: 1, 2: 2}, written={0: 30, 2: 7}, readable={0: 10, 2: 7})
    r = Rig(admin)
    assert r.watch.ends() == {}
    r.watch.look()
    assert r.watch.ends() == {0: 10, 2: 7}
    admin.dead.add(2)
    r.clock.advance(SILENT_S)
    r.watch.look()
    assert r.watch.ends() == {0: 10}


def test_what_nobody_thought_of_does_not_end_the_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error counts as silence: it is logged,
    the connection is made anew, and silence is reported.
    """
    admin = FakeAdmin({0: 1, 2: 1})
    r = Rig(admin)
    admin.ends = lambda *_, **__: {}  # type: ignore[method-assign]  # an answer without the partitions
    r.clock.advance(SILENT_S)
    r.watch.look()
    assert "KeyError" in caplog.text
    assert "where partitions [0, 2] end" in caplog.text
    assert admin.closed == 1


@pytest.mark.broker
def test_any_broker_answers_the_watch(broker: Broker) -> None:
    """The embedded one as well: no false alarm of silence or of transactions."""
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    with KafkaAdmin(access) as admin:
        ensure_topics(admin, [Topic(name="watched", partitions=2)])
    with producer(access) as writer:
        writer.send("watched", b"value", partition=1).get(10)
    metrics = Metrics(CollectorRegistry())
    clock = ManualClock()
    watch = watch_kafka(access, "watched", 2, range(2), metrics, clock)
    clock.advance(5.0)
    watch.look()
    watch.close()
    for partition in ("0", "1"):
        assert sample(metrics, "log_silence_seconds", partition=partition) == 0
        assert sample(metrics, "log_held_back_records", partition=partition) == 0
    assert sample(metrics, "unread_partitions") == 0
