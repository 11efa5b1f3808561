"""The coordinator asked for more shards, for fewer, or for an empty one, driven step by step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.errors import InvalidRequest
from tests.cluster.coordinator.coordinated_shards import STEP_S, Deployment

A = "shard-0"
B = "shard-1"
C = "shard-2"


def test_scaling_out_moves_no_more_than_needed() -> None:
    """A third shard gets its share of six partitions, each ready before its old owner lets go."""
    started = Deployment(partitions=6).start_all()
    before = started.owners()
    assert started.coordinator.scale(3).waiting_for == "shard-2 to register"
    while started.coordinator.progress().waiting_for:
        started.step()
        assert started.coordinator.table.uncovered() == []
    moved = [new for old, new in zip(before, started.owners(), strict=True) if old != new]
    assert moved == [C, C]
    started.step()
    assert sorted(len(started.held(number)) for number in range(3)) == [2, 2, 2]
    assert started.standbys() == [None] * 6


def test_few_partitions_move_at_a_time() -> None:
    """Each is in memory twice while it moves."""
    started = Deployment(shards=1, partitions=16).start_all()
    started.coordinator.scale(2)
    started.step()
    started.processes[1].slow = True
    started.step(5)
    assert sum(standby is not None for standby in started.standbys()) == started.settings.moves_max
    started.processes[1].slow = False
    started.processes[1].held.clear()  # reported anew, as caught up
    started.settle()
    assert started.owners().count(B) == 8


def test_a_new_owner_is_not_far_behind_the_old_one() -> None:
    """It caught up once and fell behind since:
    the old one goes on until the new one is close again.
    """
    started = Deployment(shards=1, partitions=2).start_all()
    started.coordinator.scale(2)
    started.step(2)
    old = started.processes[0]
    new = started.processes[1]
    new.held = {p: replace(held, caught_up=True, position=10) for p, held in new.held.items()}
    old.held = {p: replace(held, position=1011) for p, held in old.held.items()}
    started.step(20)
    assert started.owners() == [A, A]
    new.held = {p: replace(held, position=11) for p, held in new.held.items()}
    started.settle()
    assert sorted(started.owners()) == [A, B]


def test_scaling_in_empties_a_shard_before_it_stops() -> None:
    """The last one keeps all; nothing is ever without an owner that answers."""
    started = Deployment(shards=3, partitions=6, standbys=1).start_all()
    started.coordinator.scale(1)
    while started.coordinator.progress().waiting_for:
        started.step()
        assert started.coordinator.table.uncovered() == []
    assert started.owners() == [A] * 6
    assert started.processes.keys() == {0}
    assert [target.name for target in started.coordinator.table.targets] == [A]


def test_a_shard_that_is_wanted_again_while_it_stops_is_spawned_anew() -> None:
    """Stopping is never taken back half-way."""
    started = Deployment(shards=2).start_all()
    started.coordinator.scale(1)
    while not started.coordinator.to_stop():
        started.clock.advance(STEP_S)
        for process in started.processes.values():
            started.beat(process)
        started.coordinator.tick()
    started.coordinator.scale(2)
    assert (started.coordinator.to_stop(), started.coordinator.to_spawn()) == ([1], {})
    started.coordinator.stopped(1)
    assert started.coordinator.to_spawn() == {1: ""}
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B]


@pytest.mark.parametrize("shards", [0, 5])
def test_more_shards_than_partitions_are_refused(shards: int) -> None:
    """They would hold nothing; the message says what may be asked for."""
    with pytest.raises(InvalidRequest, match=f"{shards} shards for 4 partitions; ask for 1 to 4"):
        Deployment().coordinator.scale(shards)


def test_the_number_of_shards_survives_the_coordinator() -> None:
    """Its successor goes on scaling, and stays with the new number;
    the next run begins with the settings.
    """
    started = Deployment(partitions=6).start_all()
    started.coordinator.scale(3)
    started.new_coordinator()
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B, C, C]
    assert started.new_coordinator().progress().shards_wanted == 3
    assert started.new_coordinator("next").progress().shards_wanted == 2


def test_a_drained_shard_is_empty_until_it_starts_anew() -> None:
    """For maintenance: its partitions go elsewhere, and come back with its next process."""
    started = Deployment().start_all()
    started.coordinator.drain(B)
    started.settle()
    assert started.owners() == [A] * 4
    started.start(1)
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B]


def test_the_only_shard_cannot_be_drained() -> None:
    """Its partitions would have nowhere to go."""
    started = Deployment(shards=1).start_all()
    with pytest.raises(InvalidRequest, match=r"no other shard could take what shard-0 holds"):
        started.coordinator.drain(A)


def test_shards_that_are_drained_cannot_be_the_only_ones() -> None:
    """The others would wait for ever for somebody to take what they hold."""
    started = Deployment().start_all()
    started.coordinator.drain(A)
    with pytest.raises(
        InvalidRequest, match=r"all of the 1 shards that would stay are being drained; ask for more"
    ):
        started.coordinator.scale(1)
    assert started.settle().owners() == [B] * 4


def test_a_dead_target_does_not_hold_up_its_moves() -> None:
    """What was on its way to a shard that dies stays, or goes elsewhere."""
    started = Deployment(partitions=6).start_all()
    started.coordinator.scale(3)
    started.step(2)
    started.kill(2)
    started.step(int(8 / STEP_S))
    assert set(started.owners()) == {A, B}
    assert started.standbys() == [None] * 6
    assert started.coordinator.table.uncovered() == []
