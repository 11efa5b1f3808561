from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import ManualClock
from actors.errors import SnapshotError, Superseded
from actors.serve.traffic import Arm
from cluster.coordinator.assignment_files import EPOCHS_A_GENERATION, KEPT, AssignmentFiles
from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.ledger import Ledger, Member
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.coordinator.settings import CoordinatorSettings
from monitoring.discovery import Target

replicas = st.builds(
    Replica,
    shard=st.text(max_size=9),
    epoch=st.integers(0),
    incarnation=st.integers(0),
    address=st.text(max_size=9),
    ready=st.booleans(),
)
arms = st.builds(
    Arm,
    name=st.text(),
    model_version=st.text(),
    role=st.sampled_from(["live", "shadow"]),
    weight=st.integers(0, 9),
)
targets = st.builds(
    Target, kind=st.sampled_from(["shard", "gateway"]), name=st.text(), address=st.text()
)
members = st.builds(
    Member,
    number=st.integers(0),
    address=st.text(max_size=9),
    node=st.text(max_size=9),
    incarnation=st.integers(0),
    spawned=st.booleans(),
    draining=st.booleans(),
    moves_to=st.text(max_size=9),
    stopping=st.booleans(),
)
tables = st.builds(
    RoutingTable,
    version=st.integers(0),
    routes=st.lists(st.builds(Route, owner=replicas, standby=st.none() | replicas), max_size=5).map(
        tuple
    ),
    arms=st.lists(arms, max_size=3).map(tuple),
    targets=st.lists(targets, max_size=3).map(tuple),
    buckets=st.just(())
    | st.integers(1, 9_999).map(lambda count: (("a", count), ("b", 10_000 - count))),
)
ledgers = st.builds(
    Ledger,
    run=st.text(),
    shards_wanted=st.integers(1),
    members=st.lists(members, max_size=3).map(tuple),
    incarnations=st.integers(0),
    issued=st.lists(st.integers(0), max_size=5).map(tuple),
    table=tables,
)


def ledger(version: int = 1) -> Ledger:
    """Something to keep."""
    route = Route(owner=Replica(shard="shard-0", epoch=1))
    table = RoutingTable(version=version, routes=(route,))
    return Ledger(
        run="r",
        shards_wanted=1,
        members=(Member(number=0),),
        incarnations=0,
        issued=(1,),
        table=table,
    )


def files(directory: Path) -> AssignmentFiles:
    """A coordinator's memory, loaded."""
    made = AssignmentFiles(str(directory))
    made.load()
    return made


def names(directory: Path) -> list[str]:
    """Without their tokens, in order."""
    return [path.name[:-14] for path in sorted(directory.iterdir())]


@given(kept=ledgers)
def test_a_ledger_survives_plain_values(kept: Ledger) -> None:
    """What was written is read back, equal in every part."""
    assert Ledger.from_values(kept.to_values()) == kept


@pytest.mark.parametrize("uri", [False, True])
def test_the_newest_file_counts(tmp_path: Path, uri: bool) -> None:
    """Paths and URIs; nothing before the first save; no temporary file stays."""
    directory = tmp_path / "state"
    first = AssignmentFiles(directory.as_uri() if uri else str(directory))
    assert first.load() is None
    for version in (1, 2):
        first.save(ledger(version))
    assert AssignmentFiles(str(directory)).load() == ledger(2)
    assert names(directory) == ["assignment-000001-000000000001", "assignment-000001-000000000002"]


def test_each_start_is_a_generation_with_epochs_of_its_own(tmp_path: Path) -> None:
    """What an earlier coordinator may still give out is never given out again."""
    for generation in (1, 2, 3):
        started = files(tmp_path)
        assert started.first_epoch == generation * EPOCHS_A_GENERATION + 1
        started.save(ledger())


def test_the_newest_few_stay(tmp_path: Path) -> None:
    """Old files are retired, those of earlier generations first."""
    files(tmp_path).save(ledger(5))
    second = files(tmp_path)
    for version in range(6, 6 + KEPT):
        second.save(ledger(version))
    assert len(names(tmp_path)) == KEPT
    assert names(tmp_path)[0] == "assignment-000002-000000000006"


def test_who_was_superseded_saves_nothing(tmp_path: Path) -> None:
    """Two coordinators on one directory: the older ends,
    and the message says which took over and what to do.
    """
    first = files(tmp_path)
    first.save(ledger(1))
    second = files(tmp_path)
    second.save(ledger(2))
    before = names(tmp_path)
    with pytest.raises(
        Superseded, match=r"another coordinator took over .*generation 2, this one is 1 .*stop one"
    ):
        first.save(ledger(3))
    assert names(tmp_path) == before
    second.save(ledger(3))


def test_two_that_start_at_the_same_moment_never_both_go_on(tmp_path: Path) -> None:
    """They have one generation, and so could give out the same epochs."""
    first = files(tmp_path)
    second = files(tmp_path)
    assert first.generation == second.generation
    first.save(ledger(1))
    with pytest.raises(Superseded):
        second.save(ledger(1))
    first.save(ledger(2))


def test_a_zombie_that_writes_late_is_not_believed(tmp_path: Path) -> None:
    """A file of an older generation never counts before one of a newer, whatever its version."""
    first = files(tmp_path)
    second = files(tmp_path)
    second.generation += 1
    first.save(ledger(9))
    second.save(ledger(2))
    assert AssignmentFiles(str(tmp_path)).load() == ledger(2)


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"checksum": "", "ledger": {"run": "r"}}', "not json", "bit"]
)
def test_a_damaged_file_does_not_stop_the_system(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The one before it is used, the damaged one is named, and epochs are beyond those of both."""
    first = files(tmp_path)
    first.save(ledger(1))
    first.save(ledger(2))
    newest = max(tmp_path.iterdir())
    text = newest.read_text()
    newest.write_text(
        text.replace('"shards_wanted": 1', '"shards_wanted": 3') if damage == "bit" else damage
    )
    again = AssignmentFiles(str(tmp_path))
    assert again.load() == ledger(1)
    assert f"{newest.name} is damaged" in caplog.text
    assert again.first_epoch > first.first_epoch + EPOCHS_A_GENERATION - 2


def test_nothing_readable_is_never_taken_for_nothing(tmp_path: Path) -> None:
    """If all files are damaged, the message names the newest and says what to do."""
    files(tmp_path).save(ledger(1))
    for path in tmp_path.iterdir():
        path.write_text("{")
    with pytest.raises(
        SnapshotError,
        match=r"none of the 1 assignments .*assignment-000001-.*bring one back, or delete",
    ):
        files(tmp_path)


def test_epochs_go_on_beyond_those_of_snapshots(tmp_path: Path) -> None:
    """Where all assignments were deleted, snapshots still say which generations there were."""
    place = tmp_path / "partition-00003"
    place.mkdir()
    (place / f"{7 * EPOCHS_A_GENERATION + 12:012d}-{5:019d}.manifest.json").touch()
    (place / "something else").touch()
    assert files(tmp_path).generation == 8


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The message has the path and what to check."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match=r"cannot write the assignment .*check state.directory"):
        AssignmentFiles(str(tmp_path / "file" / "state")).save(ledger())


def test_a_coordinator_goes_on_from_files(tmp_path: Path) -> None:
    """What one coordinator gave out, the next one knows, under a higher version."""

    def start() -> Coordinator:
        return Coordinator(
            run="run",
            partitions=2,
            shards=1,
            arms=(),
            memory=AssignmentFiles(str(tmp_path)),
            clock=ManualClock(),
            settings=CoordinatorSettings(),
        )

    before = start()
    before.register("shard-0", "h:1", Target(kind="shard", name="shard-0", address="h:2"), "n")
    after = start()
    assert after.table.routes == before.table.routes
    assert after.table.targets == before.table.targets
    assert after.table.version > before.table.version


def run_with(directory: Path, number: int, **weights: int) -> Coordinator:
    """The coordinator of a run of its own, with live arms of these weights."""
    return Coordinator(
        run=f"run-{number}",
        partitions=1,
        shards=1,
        arms=[
            Arm(name=name, model_version="v", role="live", weight=weight)
            for name, weight in weights.items()
        ],
        memory=AssignmentFiles(str(directory)),
        clock=ManualClock(),
        settings=CoordinatorSettings(),
    )


def test_users_keep_their_arms_from_run_to_run(tmp_path: Path) -> None:
    """Each start goes on from the table of the last one:
    what has to move moves, and nobody else.
    """
    assert run_with(tmp_path, 1, main=9000, wide=1000).table.buckets == (
        ("main", 9000),
        ("wide", 1000),
    )
    three = (("main", 8000), ("new", 1000), ("wide", 1000))
    assert run_with(tmp_path, 2, main=8000, new=1000, wide=1000).table.buckets == three
    assert run_with(tmp_path, 3, main=8000, new=2000).table.buckets == (
        ("main", 8000),
        ("new", 2000),
    )
    assert run_with(tmp_path, 4, a=2000, main=8000).table.buckets == (("main", 8000), ("a", 2000))


def test_a_ledger_from_before_there_were_tables_moves_nobody(tmp_path: Path) -> None:
    """Its users were where ranges by name and weight had them,
    also if the weights change with the upgrade.
    """
    values = run_with(tmp_path, 1, main=9000, wide=1000)._ledger.to_values()
    del values["table"]["buckets"]
    old = Ledger.from_values(values)
    assert old.table.buckets == (("main", 9000), ("wide", 1000))


def test_a_table_that_lacks_buckets_is_damage(tmp_path: Path) -> None:
    """It is read as no other damaged file is."""
    values = run_with(tmp_path, 1, main=10_000)._ledger.to_values()
    values["table"]["buckets"] = [["main", 9_999]]
    with pytest.raises(ValueError, match="9999 buckets"):
        Ledger.from_values(values)
