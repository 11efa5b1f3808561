"""The reckoning: what was acknowledged, what the log holds, and what the states say,
each held against the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
import numpy as np
import pyarrow as pa
from kafka import KafkaConsumer
from kafka.structs import TopicPartition
from pyarrow import parquet

from actors.clicks.click import ClickBatch, key
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat
from actors.clock import SystemClock
from actors.state.store import PartitionStore
from cluster.kafka.access import KafkaAccess
from cluster.kafka.log import KafkaLog
from model.bundle.bundle import Bundle
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc
from tests.chaos.clicks import FIRST_MS, Place

STATE_BYTES_MAX = 1 << 20
ASK_S = 10.0
SHOWN = 5  # differences named one by one

Digests = Mapping[tuple[int, str], str]


class Verdict(NamedTuple):
    """What one audit found; `lost` and `doubled` count clicks."""

    acknowledged: int
    lost: int
    doubled: int
    byte_equal: bool
    differences: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every acknowledged click is in the state exactly once, byte for byte."""
        return not self.lost and not self.doubled and self.byte_equal


@dataclass
class Findings:
    """Clicks lost and doubled, and the first differences in words."""

    lost: int = 0
    doubled: int = 0
    differences: list[str] = field(default_factory=list)

    def note(self, difference: str, *, lost: int = 0, doubled: int = 0) -> None:
        """Count one difference."""
        self.lost += lost
        self.doubled += doubled
        if len(self.differences) < SHOWN:
            self.differences.append(difference)


class Log:
    """The topic as it is: read once from its start, folded cleanly in this process, and counted."""

    def __init__(self, bundle: Bundle, access: KafkaAccess, topic: str, partitions: int) -> None:
        self._access = access
        self._topic = topic
        self._decoder = Decoder(EventFormat(), SystemClock(), partitions=partitions)
        self._stores = {
            partition: PartitionStore(
                bundle, users_initial=1024, bytes_per_user_max=STATE_BYTES_MAX, clock=SystemClock()
            )
            for partition in range(partitions)
        }
        self.numbers: dict[Place, int] = {}  # of each click, by its place
        self.clicks: Counter[int] = Counter()  # by user key

    def ends(self) -> dict[int, int]:
        """The offset after the newest record of each partition."""
        with closing(KafkaConsumer(**self._access.options())) as consumer:
            found = consumer.end_offsets(
                [TopicPartition(self._topic, partition) for partition in self._stores]
            )
        return {at.partition: end for at, end in found.items()}

    def read(self, ends: Mapping[int, int]) -> None:
        """Go on to these ends, one for each partition."""
        behind = {
            partition for partition, end in ends.items() if self._stores[partition].position < end
        }
        if not behind:
            return
        reader = KafkaLog(
            self._access, topic=self._topic, poll_timeout_ms=100, records_per_poll_max=5000
        )
        with closing(reader):
            reader.assign(behind)
            for partition in behind:
                reader.seek(partition, self._stores[partition].position)
                reader.resume(partition)
            while behind:
                for part in reader.poll():
                    batch, dead = self._decoder.decode_batch(
                        part.partition, part.start, part.stop, part.records
                    )
                    assert not dead, f"the producer's own clicks were refused: {dead[0]}"
                    self._take(batch.before(ends[part.partition]))
                    if self._stores[part.partition].position >= ends[part.partition]:
                        reader.pause(part.partition)
                        behind.discard(part.partition)

    def digests(self, arm: str) -> dict[tuple[int, str], str]:
        """What a running system's digests must be."""
        return {(partition, arm): store.digest() for partition, store in self._stores.items()}

    def _take(self, batch: ClickBatch) -> None:
        fresh = batch.after(self._stores[batch.partition].position)
        self._stores[batch.partition].fold(fresh)
        for offset, time_ms in zip(fresh.offsets.tolist(), fresh.times_ms.tolist(), strict=True):
            self.numbers[Place(batch.partition, offset)] = time_ms - FIRST_MS
        users, counts = np.unique(fresh.users, return_counts=True)
        self.clicks.update(dict(zip(users.tolist(), counts.tolist(), strict=True)))


def judge(
    *,
    acknowledged: Mapping[Place, int],
    in_log: Mapping[Place, int],
    clicks_by_user: Mapping[int, int],
    events_by_user: Mapping[int, int],
    expected: Digests,
    found: Digests,
) -> Verdict:
    """Hold the producer's ledger against the log, and the states against the log.

    `clicks_by_user` counts the log's clicks, `events_by_user` what the states say of the same
    users, by key.
    """
    findings = Findings()
    for place, number in acknowledged.items():
        if in_log.get(place) != number:
            findings.note(
                f"click {number} was acknowledged at {place}, the log has {in_log.get(place)}",
                lost=1,
            )
    for number, times in Counter(in_log.values()).items():
        if times > 1:
            findings.note(f"click {number} stands in the log {times} times", doubled=times - 1)
    for user, clicks in clicks_by_user.items():
        if (events := events_by_user.get(user, 0)) != clicks:
            text = f"user {user:016x} has {clicks} clicks in the log, the state counts {events}"
            findings.note(text, lost=max(0, clicks - events), doubled=max(0, events - clicks))
    unequal = sorted(
        at for at in expected.keys() | found.keys() if expected.get(at) != found.get(at)
    )
    for partition, arm in unequal:
        at = partition, arm
        findings.note(
            f"partition {partition}, arm {arm}: digest {found.get(at)}, a clean fold has "
            f"{expected.get(at)}"
        )
    return Verdict(
        len(acknowledged), findings.lost, findings.doubled, not unequal, tuple(findings.differences)
    )


def events_of(address: str, users: Sequence[str]) -> dict[int, int]:
    """How many clicks the state of each user counts, as the gateway says, by user key."""
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(8) as pool:
        stub = pb_grpc.ScoringStub(channel)

        def events(user: str) -> int:
            return int(
                stub.Inspect(
                    pb.InspectRequest(user=user), timeout=ASK_S, wait_for_ready=True
                ).events
            )

        return dict(zip(map(key, users), pool.map(events, users), strict=True))


def differences_of_archive(directory: str, in_log: Mapping[Place, int]) -> Iterator[str]:
    """What an archive has too few or too many, compared with the log."""
    table = parquet.read_table(directory, columns=["partition", "offset", "time_ms"])
    partitions, offsets, times_ms = (
        table[name].cast(pa.int64()).to_pylist() for name in table.column_names
    )
    rows = Counter(
        (Place(partition, offset), time_ms - FIRST_MS)
        for partition, offset, time_ms in zip(partitions, offsets, times_ms, strict=True)
    )
    expected = Counter(dict.fromkeys(in_log.items(), 1))
    yield from (f"the archive lacks click {number} at {place}" for place, number in expected - rows)
    yield from (
        f"the archive has click {number} at {place} once too often"
        for place, number in rows - expected
    )
