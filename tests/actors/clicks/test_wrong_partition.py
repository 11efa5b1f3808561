"""A click outside of its user's partition is a dead letter,
for ingest, archive and replay alike.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive, RollSettings
from actors.clicks.click import Click
from actors.clicks.codec import TOGETHER_MIN, Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat, encode
from actors.clicks.partitioner import partition_of
from actors.clock import ManualClock
from actors.errors import BadRecord
from actors.ingest.log_reader import LogReader
from monitoring.metrics import Metrics
from tests.actors.click_log import sample
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog, FakeRecord, FakeSink

PARTITIONS = 4
FORMATS = [EventFormat(), EventFormat(format="json")]


def decoder(event_format: EventFormat = FORMATS[0], partitions: int | None = PARTITIONS) -> Decoder:
    """One that knows how many partitions the topic has."""
    return Decoder(event_format, ManualClock(NOW_MS), partitions=partitions)


def record(
    offset: int, user: str, *, keyed: bool = True, event_format: EventFormat = FORMATS[0]
) -> FakeRecord:
    """A user's click."""
    value = encode(Click(user, "item", "click", NOW_MS - 1), event_format)
    return FakeRecord(offset, value, key=user.encode() if keyed else None)


@pytest.mark.parametrize("event_format", FORMATS, ids=lambda f: f.format)
@given(
    users=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), min_size=1
    )
)
@settings(deadline=None)
def test_each_user_has_one_partition_of_all(event_format: EventFormat, users: list[str]) -> None:
    """Read together or one by one, a click is taken in its user's partition and nowhere else."""
    records = [
        record(n, user, keyed=n % 3 > 0, event_format=event_format) for n, user in enumerate(users)
    ]
    filled = [
        *records,
        *(record(len(users) + n, "u", event_format=event_format) for n in range(TOGETHER_MIN)),
    ]
    for partition in range(PARTITIONS):
        home = [n for n, user in enumerate(users) if partition_of(user, PARTITIONS) == partition]
        for some in (records, filled):
            batch, dead = decoder(event_format).decode_batch(partition, 0, len(some), some)
            assert [offset for offset in batch.offsets.tolist() if offset < len(users)] == home
            assert {letter.reason for letter in dead} <= {"wrong_partition"}
            assert len(batch) + len(dead) == len(some)
            for letter in dead:
                with pytest.raises(BadRecord) as caught:
                    decoder(event_format).decode_record(partition, some[letter.offset])
                assert (caught.value.reason, str(caught.value)) == (
                    "wrong_partition",
                    letter.message,
                )


def test_the_letter_says_where_it_belongs_and_who_misplaced_it() -> None:
    """A librdkafka producer, one without keys, and the counters of each."""
    users = [f"user-{n}" for n in range(40)]
    away = [
        user
        for user in users
        if zlib.crc32(user.encode()) % PARTITIONS != partition_of(user, PARTITIONS)
    ]
    letters = []
    for user in away:
        [letter] = decoder().decode_batch(
            zlib.crc32(user.encode()) % PARTITIONS, 0, 1, [record(0, user)]
        )[1]
        assert f"user '{user}' lives in {partition_of(user, PARTITIONS)}" in letter.message
        assert "librdkafka" in letter.message
        letters.append(letter)
    wrong = (partition_of("user-1", PARTITIONS) + 1) % PARTITIONS
    [letter] = decoder().decode_batch(wrong, 0, 1, [record(0, "user-1", keyed=False)])[1]
    assert "there is no key" in letter.message
    metrics = Metrics(CollectorRegistry())
    sender = DeadLetters(FakeSink(), topic="clicks.dlq", source_topic="clicks", metrics=metrics)
    sender.send([*letters, letter])
    assert sample(metrics, "dlq_total", reason="wrong_partition") == len(away) + 1
    assert sample(metrics, "misplaced_total", partitioner="crc32") == len(away)
    assert sample(metrics, "misplaced_total", partitioner="none") == 1


def test_who_does_not_know_the_topic_takes_any_partition() -> None:
    """A decoder for values alone."""
    assert len(decoder(partitions=None).decode_batch(0, 0, 1, [record(0, "user-1")])[0]) == 1
    assert decoder().decode(record(0, "user-1").value).user == "user-1"


def test_archive_and_replay_leave_out_what_ingest_does(tmp_path: Path) -> None:
    """Records without keys, spread over all partitions: each reader takes the same ones."""
    records = [record(n, f"user-{n % 10}", keyed=False) for n in range(120)]
    partition = 2
    clock = ManualClock(NOW_MS)
    expected, _ = decoder().decode_batch(partition, 0, 120, records)
    assert 0 < len(expected) < 120
    files = ArchiveFiles.from_uri(str(tmp_path))
    log = FakeLog({partition: records}, records_per_poll=50)
    archive = Archive(
        log, decoder(), files, [partition], Metrics(CollectorRegistry()), clock, RollSettings()
    )
    for _ in range(4):
        archive.run_once()
    archive.flush()
    log = FakeLog({partition: records}, records_per_poll=50)
    for history in (ArchiveReader(files), LogReader(log, decoder(), clock)):
        pieces = history.read(partition, 0, 120)
        assert [
            offset for piece in pieces for offset in piece.offsets.tolist()
        ] == expected.offsets.tolist()
