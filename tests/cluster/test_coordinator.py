from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from actors.errors import ConfigError, NotOwner, SnapshotError
from actors.traffic import Arm
from cluster.assignment_file import AssignmentFile, Saved
from cluster.coordinator import Coordinator
from cluster.routing import RoutingTable
from monitoring.discovery import Target

ARM = Arm(name="main", model_version="v1", role="live", weight=10_000)
SHARD_0 = Target(kind="shard", name="shard-0", address="127.0.0.1:1")
SHARD_1 = Target(kind="shard", name="shard-1", address="127.0.0.1:2")


class Diary:
    """A memory in memory, which can fail."""

    def __init__(self) -> None:
        self.saved: Saved | None = None
        self.full = False

    def load(self) -> Saved | None:
        return self.saved

    def save(self, saved: Saved) -> None:
        if self.full:
            raise SnapshotError("the disk is full")
        self.saved = saved


@pytest.fixture
def diary() -> Diary:
    """An empty memory."""
    return Diary()


def coordinator(diary: Diary, *, run: str = "run", partitions: int = 4, shards: int = 2, arm: Arm = ARM) -> Coordinator:
    """A coordinator that starts with what the diary holds."""
    names = [f"shard-{number}" for number in range(shards)]
    return Coordinator(run=run, partitions=partitions, shards=names, arms=[arm], memory=diary)


def registered(diary: Diary) -> Coordinator:
    """A coordinator with both shards under epoch 1."""
    started = coordinator(diary)
    started.register("shard-0", "h:1", SHARD_0)
    started.register("shard-1", "h:2", SHARD_1)
    return started


def test_partitions_are_shared_out_evenly(diary: Diary) -> None:
    """Every other partition goes to each of two shards, under epoch 1."""
    started = coordinator(diary)
    assert started.register("shard-0", "h:1", SHARD_0) == {0: 1, 2: 1}
    assert started.register("shard-1", "h:2", SHARD_1) == {1: 1, 3: 1}
    assert [started.table.address_of(p) for p in range(4)] == ["h:1", "h:2", "h:1", "h:2"]


def test_each_registration_fences_the_one_before(diary: Diary) -> None:
    """The epochs of the shard's partitions rise, and only they."""
    started = registered(diary)
    assert started.register("shard-0", "h:9", SHARD_0) == {0: 2, 2: 2}
    assert started.table.epochs("shard-1") == {1: 1, 3: 1}
    assert started.table.address_of(2) == "h:9"


def test_a_stranger_gets_nothing(diary: Diary) -> None:
    """The message lists the shards of the deployment."""
    with pytest.raises(NotOwner, match="shard 'x' is not part of this deployment, which has shard-0, shard-1"):
        coordinator(diary).register("x", "h:1", SHARD_0)


def test_ready_counts_for_the_current_epoch_only(diary: Diary) -> None:
    """What an old incarnation says about its epoch changes nothing."""
    started = registered(diary)
    started.ready({0: 1, 2: 1})
    assert started.table.not_ready() == [1, 3]
    started.register("shard-0", "h:9", SHARD_0)
    assert started.table.not_ready() == [0, 1, 2, 3]
    started.ready({0: 1, 2: 1})
    assert started.table.not_ready() == [0, 1, 2, 3]


def test_every_change_is_a_new_version_and_nothing_else_is(diary: Diary) -> None:
    """Repeated reports do not wake gateways."""
    started = registered(diary)
    version = started.table.version
    started.ready({0: 1})
    assert started.table.version == version + 1
    started.ready({0: 1})
    assert started.table.version == version + 1


def test_targets_are_every_process_once(diary: Diary) -> None:
    """A restarted process replaces its own entry."""
    started = registered(diary)
    started.join(Target(kind="gateway", name="gateway", address="127.0.0.1:3"))
    started.register("shard-0", "h:9", dataclasses.replace(SHARD_0, address="127.0.0.1:9"))
    assert [(each.name, each.address) for each in started.table.targets] == [
        ("gateway", "127.0.0.1:3"),
        ("shard-0", "127.0.0.1:9"),
        ("shard-1", "127.0.0.1:2"),
    ]


async def test_a_long_poll_ends_with_the_next_table(diary: Diary) -> None:
    """The poller gets the table as soon as it is there."""
    started = coordinator(diary)
    polling = asyncio.create_task(started.wait_newer(started.table.version, timeout_s=10))
    await asyncio.sleep(0)
    assert not polling.done()
    started.register("shard-0", "h:1", SHARD_0)
    assert (await polling).address_of(0) == "h:1"


async def test_a_long_poll_ends_in_time(diary: Diary) -> None:
    """Without a change the poller gets the table it knows."""
    started = coordinator(diary)
    assert await started.wait_newer(started.table.version, timeout_s=0.01) is started.table


def test_its_own_death_changes_nothing(diary: Diary) -> None:
    """The successor of the same run goes on with owners, addresses, readiness, and a higher version."""
    before = registered(diary)
    before.ready({0: 1, 1: 1})
    after = coordinator(diary)
    assert after.table.routes == before.table.routes
    assert after.table.targets == before.table.targets
    assert after.table.version > before.table.version


def test_another_run_keeps_epochs_and_forgets_addresses(diary: Diary) -> None:
    """Nothing of an earlier run is asked for scores, and its shards stay fenced; arms are those of the new run."""
    registered(diary)
    arm = dataclasses.replace(ARM, model_version="v2")
    started = coordinator(diary, run="next", shards=1, arm=arm)
    assert started.table.addresses() == set()
    assert started.table.targets == ()
    assert started.table.arms == (arm,)
    assert started.register("shard-0", "h:1", SHARD_0) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_another_number_of_partitions_is_refused(diary: Diary) -> None:
    """Users would be looked for where their states are not; the message says what to do."""
    registered(diary)
    with pytest.raises(
        ConfigError, match=r"topics.partitions is 8, but .* are of 4 partitions .*empty state.directory"
    ):
        coordinator(diary, run="next", partitions=8)


def test_nobody_sees_what_could_not_be_saved(diary: Diary) -> None:
    """If saving fails, the registration fails, and the table stays."""
    started = registered(diary)
    before, diary.full = started.table, True
    with pytest.raises(SnapshotError, match="the disk is full"):
        started.register("shard-0", "h:9", SHARD_0)
    assert started.table is before


def saved(version: int = 1) -> Saved:
    """Something to keep."""
    return Saved("run", RoutingTable(version=version, routes=(), arms=(ARM,), targets=(SHARD_0,)))


@pytest.mark.parametrize("uri", [False, True])
def test_the_file_gives_back_the_last_table(tmp_path: Path, uri: bool) -> None:
    """Paths and URIs; nothing before the first save; no temporary file stays."""
    directory = tmp_path / "state"
    file = AssignmentFile(directory.as_uri() if uri else str(directory))
    assert file.load() is None
    for version in (1, 2):
        file.save(saved(version))
    assert file.load() == saved(2)
    assert [path.name for path in directory.iterdir()] == ["assignment.json"]


@pytest.mark.parametrize("content", ["", "{}", '{"run": "r", "table": {"version": 1}}', "not json"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    """It is never taken for an empty one: epochs would start again."""
    (tmp_path / "assignment.json").write_text(content)
    with pytest.raises(SnapshotError, match=r"cannot read the assignment .*assignment.json.*restore it, or delete it"):
        AssignmentFile(str(tmp_path)).load()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message has the path and what to check."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match=r"cannot write the assignment .*check state.directory"):
        AssignmentFile(str(tmp_path / "file")).save(saved())
