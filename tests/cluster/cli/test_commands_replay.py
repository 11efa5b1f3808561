"""`echorank replay`, as a user meets it: archives on the disk, snapshots of what a shard had."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from actors.archive.reader import ArchiveReader
from actors.clicks.click import Click, ClickBatch, key
from actors.clicks.formats import EventFormat, encode
from actors.clock import SystemClock
from actors.snapshots.restore import restore
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.topics import Topic, ensure_topics
from tests.actors.archived_clicks import add, archive, table, user
from tests.actors.click_log import bundle
from tests.cluster.cli.replayed_partition import CLICKS, archived, live, run, saved

pytestmark = pytest.mark.usefixtures("replayable")


def test_a_replay_prints_position_users_digest_and_rate(tmp_path: Path) -> None:
    """The digest is the live store's at that offset."""
    archived(tmp_path)
    result = run()
    assert result.exit_code == 0, result.output
    assert re.search(rf"main .* {CLICKS} .* 7 .* {live(tmp_path, CLICKS).digest()}", result.stdout)
    assert re.search(r"119 clicks in [\d.]+ s: [\d,]+ clicks/s\n", result.stdout)
    assert live(tmp_path, 77).digest() in run("--to", "77").stdout


def test_verify_finds_equal_states(tmp_path: Path) -> None:
    """At exactly the snapshot's offset, though the archive goes on;
    from nothing, and from an older snapshot.
    """
    archived(tmp_path)
    for stop in (30, 70, 101):
        saved(tmp_path, live(tmp_path, stop))
    result = run("--verify")
    assert result.exit_code == 0, result.output
    assert (
        f"equal to the snapshot at offset 101, digest {live(tmp_path, 101).digest()}"
        in result.stdout
    )
    result = run("--verify", "--from", "75", "--to", "105")
    assert "starts from the snapshot at offset 70 with 7 users" in result.stdout
    assert "equal to the snapshot at offset 101" in result.stdout
    assert "equal to the snapshot at offset 70" in run("--verify", "--to", "100").stdout


@pytest.mark.broker
@pytest.mark.parametrize("source", ["log", "both"])
def test_clicks_come_from_the_log_as_well(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Real Kafka: what the archive does not hold yet, or all of it;
    equal to what a shard folded from there.
    """
    topic = f"replayed-{uuid.uuid4().hex[:8]}"
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    with KafkaAdmin(access) as admin:
        ensure_topics(admin, [Topic(name=topic, partitions=1)])
    rows = table(range(CLICKS)).to_pylist()
    with producer(access) as writer:
        for row in rows:
            value = encode(
                Click(row["user"], row["item"], row["action"], row["time_ms"]), EventFormat()
            )
            writer.send(topic, value, partition=0)
        writer.flush(20)
    monkeypatch.setenv("ECHORANK__KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("ECHORANK__TOPICS__CLICKS", topic)
    monkeypatch.setenv("ECHORANK__TOPICS__PARTITIONS", "1")
    add(tmp_path / "whole" / "archive", 0, CLICKS)
    expected = live(tmp_path / "whole", CLICKS)
    saved(tmp_path, expected)
    add(tmp_path / "archive", 0, 50)
    add(tmp_path / "archive", 60, 90)
    result = run("--verify", "--source", source)
    assert result.exit_code == 0, result.output
    assert f"equal to the snapshot at offset {CLICKS}, digest {expected.digest()}" in result.stdout
    assert f"{CLICKS} clicks in" in run("--source", source).stdout
    assert "missing: offsets 50 to 59" in run("--source", "archive").stdout


def test_verify_shows_who_differs_and_where(tmp_path: Path) -> None:
    """One click folded twice in the live state: exit 1, that user,
    both digests of the row, and the parts.
    """
    archived(tmp_path)
    store = live(tmp_path, 100)
    [twice] = list(ArchiveReader(archive(tmp_path / "archive")).read(0, 99, 100))
    assert isinstance(twice, ClickBatch)
    wrong = PartitionStore(bundle(), users_initial=4, bytes_per_user_max=4096, clock=SystemClock())
    for users, rows in store.states():
        wrong.load(users, rows)
    wrong.skip_to(99)
    wrong.fold(twice)
    saved(tmp_path, wrong)
    result = run("--verify")
    assert result.exit_code == 1
    assert (
        f"differs from the snapshot, digest {wrong.digest()}, replayed {store.digest()}"
        in result.stdout
    )
    assert "1 users differ, of 7 in the snapshot and 7 in the replay" in result.stdout
    assert re.search(rf"{int(twice.users[0]):016x} .*events, ring_items, .*slots", result.stdout)


def test_erased_users_stay_erased(tmp_path: Path) -> None:
    """The archive still has their clicks:
    neither a replay from nothing nor one from an older snapshot takes them.
    """
    archived(tmp_path)
    gone = key(user(3))
    store = live(tmp_path, 60)
    saved(tmp_path, store)
    SnapshotStore.from_uri(str(tmp_path / "state"), kept=3).tombstones.write(0, gone, 80)
    store.set_tombstone(gone, 80)
    store.erase(gone)
    for piece in ArchiveReader(archive(tmp_path / "archive")).read(0, 60, 100):
        assert isinstance(piece, ClickBatch)
        store.fold(piece)
    assert store.row(gone) is not None  # clicks from 80 on are a new user's
    saved(tmp_path, store)
    for start in ("0", "60"):
        result = run("--verify", "--from", start)
        assert f"equal to the snapshot at offset 100, digest {store.digest()}" in result.stdout, (
            result.output
        )
    assert live(tmp_path, 100).digest() != store.digest()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--verify"], r"there is no snapshot of model \S+ in .*state; check the path"),
        (["--from", "10"], r"there is no snapshot of model \S+ at or below offset 10"),
        (["--arm", "other"], "there is no arm 'other'; the arms are main"),
        (["--verify", "--save"], "exclude each other"),
        (["--source", "log"], r"without kafka\.bootstrap_servers; .*--source archive"),
        (["--partition", "99"], r"no partition 99: topics\.partitions is 8"),
    ],
)
def test_what_cannot_be_done_says_why(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Each with the setting or option that helps."""
    archived(tmp_path)
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert re.search(said, result.stderr), result.stderr


def test_nothing_to_read_and_nothing_to_verify(tmp_path: Path) -> None:
    """An empty archive; a replay that would start at the snapshot it is to
    verify; one that cannot reach it.
    """
    assert "there are no clicks of partition 0 in both" in run().stderr
    archived(tmp_path)
    saved(tmp_path, live(tmp_path, 100))
    assert "give a smaller --from" in run("--verify", "--from", "100").stderr
    assert "give a smaller --from" in run("--verify", "--from", "110").stderr


def test_gaps_are_listed_and_not_saved_unless_allowed(tmp_path: Path) -> None:
    """A rebuilt state that misses clicks does not pass for a whole one."""
    archived(tmp_path, gap=True)
    result = run("--save")
    assert result.exit_code == 1
    assert "missing: offsets 40 to 89 (the archive has no file for it)" in result.stdout
    assert "nothing was saved: 1 ranges of offsets are in neither archive nor log" in result.stderr
    assert run("--save", "--allow-gaps").exit_code == 0


def test_saved_states_are_what_a_shard_restores(tmp_path: Path) -> None:
    """After --save a restart begins at the replayed offset, with the live store's bytes."""
    archived(tmp_path)
    saved(tmp_path, live(tmp_path, 30))
    result = run("--save")
    assert (
        "saved as the newest snapshot of partition 0: epoch 0, offset 120, arms main"
        in result.stdout
    )
    store = SnapshotStore.from_uri(str(tmp_path / "state"), kept=3)
    restored = restore(
        0,
        {"main": bundle()},
        store,
        lambda of: PartitionStore(
            of, users_initial=4, bytes_per_user_max=4096, clock=SystemClock()
        ),
        pytest.fail,
    )
    assert restored["main"].store.digest() == live(tmp_path, CLICKS).digest()
    assert run("--verify").exit_code == 0
