"""The clicks topic in memory: offsets with holes, bad records,
brokers that are away, retention that cuts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from actors.clicks.click import Click
from actors.clicks.dead_letter import HEADER, OutRecord
from actors.clicks.formats import EventFormat, encode
from actors.clicks.partitioner import partition_of
from actors.errors import BrokerUnavailable, OffsetOutOfRange
from actors.ingest.ports import Slice
from tests.simulation.simulated import blocking
from tests.simulation.simulated.loop import PROCESS, VirtualLoop

START_MS = 1_700_000_000_000
POLL_S = 0.1  # how long a poll waits for records
RECORDS_PER_POLL_MAX = 40
FORMAT = EventFormat()


@dataclass(frozen=True, slots=True)
class SimRecord:
    """A record as Kafka gives it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    at: float  # when it is produced, virtual time


@dataclass(slots=True)
class SimPartition:
    """What will ever be in a partition;
    the part from `start` to what is produced by now is there.
    """

    records: list[SimRecord] = field(default_factory=list)
    start: int = 0
    length: int = 0  # the offset after everything, holes included
    committed: int = 0


class SimTopic:
    """All partitions, and whether their brokers answer."""

    def __init__(self, loop: VirtualLoop, partitions: Sequence[SimPartition]) -> None:
        self._loop = loop
        self.partitions = partitions
        self.away = 0  # by so many faults at a time
        self.letters: list[tuple[int, int]] = []  # partition and offset of each dead letter
        self.marks: dict[int, int] = {}  # below which offset letters are written

    def end(self, partition: int) -> int:
        """The high watermark: the offset after what was produced by now;
        the holes at the end come last.
        """
        log = self.partitions[partition]
        now = self._loop.time()
        produced = bisect_left(log.records, True, key=lambda record: record.at > now)
        return log.length if produced == len(log.records) else log.records[produced].offset

    def check(self) -> None:
        """Raise BrokerUnavailable while the brokers are away."""
        if self.away:
            raise BrokerUnavailable("the simulated brokers are away; they come back")


class SimLog:
    """A reader of the topic (an `actors.ingest.ports.ClickLog`)."""

    def __init__(self, topic: SimTopic, on_commit: Callable[[int, int], None]) -> None:
        self._topic = topic
        self._on_commit = on_commit
        self._positions: dict[int, int] = {}
        self._open: set[int] = set()
        self._ends: dict[int, int] = {}

    def assign(self, partitions: Iterable[int]) -> None:
        self._positions = {partition: self._positions.get(partition, 0) for partition in partitions}
        self._open &= self._positions.keys()

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def pause(self, partition: int) -> None:
        self._open.remove(partition)

    def resume(self, partition: int) -> None:
        self._open.add(partition)

    def poll(self) -> list[Slice]:
        process = PROCESS.get()
        process.step()
        blocking.wait(0.001 + 0.004 * process.random.random())
        self._topic.check()
        if not (found := self._read()):
            blocking.wait(POLL_S)
            self._topic.check()
            found = self._read()
        return found

    def _read(self) -> list[Slice]:
        for partition in sorted(self._open):
            # before any position moves: what is read is handed over
            if (
                not self._topic.partitions[partition].start
                <= self._positions[partition]
                <= self._topic.end(partition)
            ):
                raise OffsetOutOfRange(partition, self._positions[partition])
        parts = (self._slice(partition) for partition in sorted(self._open))
        return [part for part in parts if part is not None]

    def _slice(self, partition: int) -> Slice | None:
        log = self._topic.partitions[partition]
        start = self._positions[partition]
        end = self._topic.end(partition)
        self._ends[partition] = end
        if start == end:
            return None
        first = bisect_left(log.records, start, key=lambda record: record.offset)
        records = log.records[first : first + PROCESS.get().random.randint(1, RECORDS_PER_POLL_MAX)]
        records = [record for record in records if record.offset < end]
        stop = records[-1].offset + 1 if records else end
        if first + len(records) == len(log.records):
            stop = end
        self._positions[partition] = stop
        return Slice(partition, start, stop, records)

    def highwater(self, partition: int) -> int | None:
        return self._ends.get(partition)

    def earliest(self, partition: int) -> int:
        PROCESS.get().step()
        self._topic.check()
        return self._topic.partitions[partition].start

    def close(self) -> None:
        pass

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        PROCESS.get().step()
        if self._topic.away:
            on_error(BrokerUnavailable("the simulated brokers are away; nothing was committed"))
            return
        for partition, offset in offsets.items():
            self._topic.partitions[partition].committed = offset
            self._on_commit(partition, offset)


class SimAdmin:
    """What a watch asks the brokers (a `cluster.kafka.log_watch.LogAdmin`)."""

    def __init__(self, topic: SimTopic) -> None:
        self._topic = topic

    def leaders(self, _topic: str) -> dict[int, int]:
        self._answer()
        return dict.fromkeys(range(len(self._topic.partitions)), 0)

    def ends(self, _topic: str, partitions: Iterable[int], *, committed: bool) -> dict[int, int]:
        """There are no transactions, so `committed` makes no difference."""
        self._answer()
        return {partition: self._topic.end(partition) for partition in partitions}

    def settings(self, _topic: str, _names: Sequence[str]) -> Mapping[str, str]:
        """A topic's settings: it tells none."""
        self._answer()
        return {}

    def close(self) -> None:
        pass

    def __enter__(self) -> SimAdmin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> None:
        PROCESS.get().step()
        blocking.wait(0.002)
        self._topic.check()


class SimSink:
    """The dead-letter topic (an `actors.clicks.dead_letter.RecordSink`)."""

    def __init__(self, topic: SimTopic) -> None:
        self._topic = topic

    def write(self, _topic: str, records: Sequence[OutRecord]) -> None:
        PROCESS.get().step()
        blocking.wait(0.002)
        self._topic.check()
        for headers in (dict(record.headers) for record in records):
            self._topic.letters.append(
                (int(headers[HEADER + "partition"]), int(headers[HEADER + "offset"]))
            )


class SimMarks:
    """What the topic's readers know of its dead letters (an
    `actors.ingest.lettering.LetterMarks`).
    """

    def __init__(self, topic: SimTopic) -> None:
        self._topic = topic

    def load(self) -> Mapping[int, int]:
        PROCESS.get().step()
        blocking.wait(0.002)
        self._topic.check()
        return dict(self._topic.marks)

    def save(self, below: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        PROCESS.get().step()
        if self._topic.away:
            on_error(BrokerUnavailable("the simulated brokers are away; nothing was saved"))
        else:
            self._topic.marks.update(below)


def produce(
    random: Random,
    items: Sequence[str],
    *,
    partitions: int,
    users: int,
    events: int,
    seconds: float,
) -> list[SimPartition]:
    """A topic to be: keyed clicks over so many seconds, with holes,
    bad records, late and equal event times.
    """
    logs = [SimPartition() for _ in range(partitions)]
    for number in range(events):
        at = seconds * number / events
        user = f"user-{random.randrange(users)}"
        item = random.choice([*items, "unknown"])
        log = logs[partition_of(user, partitions)]
        while random.random() < 0.1:
            log.length += 1  # a hole: compaction, a transaction's marker
        now_ms = START_MS + int(at * 1000)
        value = encode(Click(user, item, "click", now_ms - random.choice([0, 5, 60_000])), FORMAT)
        if random.random() < 0.02:
            value = random.choice([b"", b"\xff", value[:-1]])
        log.records.append(SimRecord(log.length, now_ms, user.encode(), value, at))
        log.length += 1
    for log in logs:
        log.length += random.choice([0, 0, 1])
    return logs
