"""`echorank replay`, as a user meets it: archives on the disk, snapshots of what a shard had."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from actors.archive.reader import ArchiveReader
from actors.calls.admission import Bounds
from actors.calls.interceptor import ADMIN, RequestInterceptor
from actors.calls.server import RpcServer
from actors.clicks.click import Click, ClickBatch, key
from actors.clicks.formats import EventFormat, encode
from actors.clock import ManualClock
from actors.shard.held import Fingerprint
from actors.shard.roles import Role
from actors.shard.shard import Shard, ShardSettings
from actors.snapshots import rebuild
from actors.snapshots.restore import restore
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.cli.main import app
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.topics import Topic, ensure_topics
from cluster.operate.admin import Admin
from monitoring.metrics import Metrics
from tests.actors.archived_clicks import add, archive, table, user
from tests.actors.click_log import bundle

CLICKS = 120


@pytest.fixture(autouse=True)
def _a_deployment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archive and states in tmp_path, one arm, whose bundle needs no training; no system runs."""
    monkeypatch.chdir(tmp_path)
    for section in ("state", "archive"):
        monkeypatch.setenv(f"ECHORANK__{section.upper()}__DIRECTORY", str(tmp_path / section))
    monkeypatch.setenv("ECHORANK__SERVING__PORT", str(free_port()))
    monkeypatch.setattr("cluster.operate.replay.run.load_bundle", lambda _: bundle())


def run(*arguments: str) -> Result:
    """What the command prints, and its exit code."""
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(
        app, ["replay", "--partition", "0", *arguments]
    )


def archived(root: Path, *, gap: bool = False) -> None:
    """The clicks of partition 0 in three files, or two."""
    add(root / "archive", 0, 40, holes=[9])
    if not gap:
        add(root / "archive", 40, 90)
    add(root / "archive", 90, CLICKS)


def live(root: Path, stop: int) -> PartitionStore:
    """What a shard has after the clicks below `stop`."""
    store = PartitionStore(bundle(), users_initial=4, bytes_per_user_max=4096)
    for piece in ArchiveReader(archive(root / "archive"), 7).read(0, 0, stop):
        assert isinstance(piece, ClickBatch)
        store.fold(piece)
    return store


def saved(root: Path, store: PartitionStore) -> None:
    """Snapshot it."""
    rebuild.save(0, {"main": store}, SnapshotStore.from_uri(str(root / "state"), kept=3))


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
    wrong = PartitionStore(bundle(), users_initial=4, bytes_per_user_max=4096)
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
        lambda of: PartitionStore(of, users_initial=4, bytes_per_user_max=4096),
        pytest.fail,
    )
    assert restored["main"].store.digest() == live(tmp_path, CLICKS).digest()
    assert run("--verify").exit_code == 0


class Shards:
    """Partition 0 of a running system: an owner that saves snapshots, and a standby."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.on_snapshot: Callable[[], None] = lambda: None
        names = {"shard-0": Role.OWNER, "shard-1": Role.STANDBY}
        self.shards = {
            name: self._shard(name, epoch, role)
            for epoch, (name, role) in enumerate(names.items(), 1)
        }

    def _shard(self, name: str, epoch: int, role: Role) -> Shard:
        snapshots = SnapshotStore.from_uri(str(self.root / "state"), kept=3)
        metrics = Metrics(CollectorRegistry())
        shard = Shard(
            name,
            {"main": bundle()},
            snapshots,
            metrics,
            ManualClock(),
            ShardSettings(users_initial=4),
        )
        shard.hold(0, epoch, role)
        return shard

    def fold(self, stop: int, *names: str) -> None:
        """Fold the archive's clicks below `stop`, at these shards or at both."""
        for name in names or self.shards:
            shard = self.shards[name]
            for piece in ArchiveReader(archive(self.root / "archive")).read(
                0, shard.position(0), stop
            ):
                assert isinstance(piece, ClickBatch)
                shard.apply(piece, shard.grants()[0].epoch)

    async def snapshot(self, shard: str, partitions: Sequence[int]) -> dict[int, int]:
        """As an owner does; more clicks may have come by then."""
        self.on_snapshot()
        return {partition: self.shards[shard].snapshot(partition) for partition in partitions}

    async def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """As every replica does."""
        return self.shards[shard].fingerprints(partition)


@contextmanager
def running(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's Admin service, on the port of the configuration, over real gRPC."""
    owner, standby = (
        Replica(shard=name, epoch=epoch) for epoch, name in enumerate(shards.shards, 1)
    )
    table = RoutingTable(version=1, routes=(Route(owner=owner, standby=standby),))
    ports: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()
    ended = asyncio.Event()

    async def serve() -> None:
        admin = Admin(
            coordinator=None, replicas=shards, table=lambda: table, erase=None, token="open-sesame"
        )  # type: ignore[arg-type]
        interceptor = RequestInterceptor(Metrics(CollectorRegistry()), Bounds(queue_max=0))
        server = RpcServer(admin.add_to, interceptor, 65_536, (ADMIN,))
        ports.append(int((await server.start("127.0.0.1", 0)).rsplit(":", 1)[1]))
        loops.append(asyncio.get_running_loop())
        started.set()
        await ended.wait()
        await server.stop(grace_s=0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(20)
    monkeypatch.setenv("ECHORANK__SERVING__PORT", str(ports[0]))
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(20)


def test_verify_compares_with_the_running_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is taken now, and each replica's digest is met at its own
    offset, though clicks go on coming.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(70)
    shards.fold(80, "shard-0")
    shards.on_snapshot = lambda: shards.fold(100)
    with running(shards, monkeypatch):
        result = run("--verify", "--token", "open-sesame")
    assert result.exit_code == 0, result.output
    for source, offset in (
        ("the live STANDBY shard-1", 70),
        ("the live OWNER shard-0", 80),
        ("the snapshot", 100),
    ):
        assert (
            f"equal to {source} at offset {offset}, digest {live(tmp_path, offset).digest()}"
            in result.stdout
        )
    assert "99 clicks in" in result.stdout
    assert "nothing listens" not in result.stdout


def test_verify_finds_what_is_wrong_in_the_running_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click folded twice at the owner, in place of another:
    digest and snapshot differ, rows say whose, exit 1.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(60)
    [twice] = list(ArchiveReader(archive(tmp_path / "archive")).read(0, 59, 60))
    assert isinstance(twice, ClickBatch)
    owner = shards.shards["shard-0"]
    owner.apply(replace(twice, start=60, stop=61, offsets=np.array([60])), epoch=1)
    shards.fold(100)
    expected = live(tmp_path, 100).digest()
    wrong = owner.digest(0, "main")
    with running(shards, monkeypatch):
        result = run("--verify", "--token", "open-sesame")
    assert result.exit_code == 1
    assert (
        f"differs from the live OWNER shard-0, digest {wrong}, replayed {expected}" in result.stdout
    )
    assert f"equal to the live STANDBY shard-1 at offset 100, digest {expected}" in result.stdout
    assert f"differs from the snapshot, digest {wrong}" in result.stdout
    assert "2 users differ, of 7 in the snapshot and 7 in the replay" in result.stdout
    assert re.search(rf"{int(twice.users[0]):016x} .*events, ring_items, .*slots", result.stdout)


def test_verify_finds_what_is_wrong_in_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that went wrong saves nothing: its digest differs,
    the snapshot is right, and what to do is said.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(60)
    [other] = list(ArchiveReader(archive(tmp_path / "archive")).read(0, 59, 60))
    assert isinstance(other, ClickBatch)
    shards.shards["shard-1"].apply(
        replace(other, start=60, stop=61, offsets=np.array([60])), epoch=2
    )
    shards.fold(100)
    with running(shards, monkeypatch):
        result = run("--verify", "--token", "open-sesame")
    assert result.exit_code == 1
    assert "differs from the live STANDBY shard-1" in result.stdout
    assert "equal to the snapshot at offset 100" in result.stdout
    assert "Restart that shard, which then restores the snapshot" in result.stdout


def test_verify_without_a_system_says_so(tmp_path: Path) -> None:
    """The newest snapshot serves then, and nobody takes the result for the live states'."""
    archived(tmp_path)
    saved(tmp_path, live(tmp_path, 70))
    result = run("--verify")
    assert re.search(
        r"nothing listens at 127.0.0.1:\d+, so there are no live states", result.stdout
    )
    assert "as --to is given" in run("--verify", "--to", "80").stdout


def test_a_system_that_refuses_or_is_another_one_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token, or another deployment's snapshots, are errors:
    no older snapshot is compared instead.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(90)
    saved(tmp_path / "other", live(tmp_path, 50))
    with running(shards, monkeypatch):
        assert "answered UNAUTHENTICATED" in run("--verify", "--token", "guess").stderr
        monkeypatch.setenv("ECHORANK__STATE__DIRECTORY", str(tmp_path / "other" / "state"))
        message = run("--verify", "--token", "open-sesame").stderr
    assert "has saved everything below offset 90, but the newest usable snapshot" in message
