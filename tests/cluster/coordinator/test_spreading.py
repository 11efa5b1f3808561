"""Shards that crowd on one node move to another one,
so that a node's death never takes owner and standby.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from actors.shard.roles import PartitionReport
from cluster.coordinator.spreading import Move, next_move
from tests.cluster.coordinator.coordinated_shards import STEP_S, Deployment, node_name

A = "shard-0"
B = "shard-1"
NODES = [node_name(number) for number in range(4)]
GIVEN_UP_S = 6.0  # lease and grace

places = st.dictionaries(
    st.sampled_from([f"shard-{number}" for number in range(6)]), st.sampled_from(NODES)
)


def crowded() -> Deployment:
    """Two shards on one node, because the other node ended; it is still away."""
    started = Deployment(standbys=1).start_all()
    started.lose_node("node-1")
    started.step(int(GIVEN_UP_S / STEP_S) + 2)
    started.start(1)
    started.settle()
    assert started.places() == ["node-0", "node-0"]
    return started


@given(places=places)
def test_moves_even_the_shards_out(places: dict[str, str]) -> None:
    """Each one takes a shard from where there are two more,
    and after a few no node has two more than another.
    """
    for _ in range(len(places)):
        if (move := next_move(places, places.keys(), NODES)) is None:
            break
        before = list(places.values())
        assert before.count(places[move.shard]) - before.count(move.node) > 1
        places[move.shard] = move.node
    counts = [list(places.values()).count(node) for node in NODES]
    assert max(counts) - min(counts) <= 1


def test_nothing_moves_while_a_node_is_dying() -> None:
    """Its shards are about to start somewhere: nobody knows yet who crowds."""
    assert next_move({A: "node-0", B: "node-0"}, [A, B], ["node-0", "node-1"]) == Move(B, "node-1")
    assert (
        next_move({A: "node-0", B: "node-0", "shard-2": "gone"}, [A, B], ["node-0", "node-1"])
        is None
    )
    assert next_move({A: "node-0", B: "node-0"}, [A, B], []) is None


def test_what_is_being_drained_stays_where_it_is() -> None:
    """A start anew would fill it again;
    its node has room for nobody all the same, as it is to go.
    """
    assert next_move({A: "node-0", B: "node-0"}, [], ["node-0", "node-1"]) is None
    places = {A: "node-0", B: "node-0", "shard-2": "node-1"}
    assert next_move(places, [A, B], ["node-0", "node-1"]) is None


def test_a_node_that_comes_back_gets_a_shard_again() -> None:
    """Every partition is answered for all the time;
    in the end no node has both its owner and its standby.
    """
    started = crowded()
    epochs = started.epochs()
    started.nodes.add("node-9")
    started.step()
    assert started.coordinator.progress().waiting_for.endswith("shard-1 to move to another node")
    while started.coordinator.progress().waiting_for:
        started.step()
        assert started.coordinator.table.uncovered() == []
    assert started.places() == ["node-0", "node-9"]
    assert sorted(started.owners()) == [A, A, B, B]
    assert all(
        owner != standby
        for owner, standby in zip(started.owners(), started.standbys(), strict=True)
    )
    assert all(new >= old for new, old in zip(started.epochs(), epochs, strict=True))
    version = started.coordinator.table.version
    started.step(20)
    assert started.coordinator.table.version == version, "once is enough"


def test_the_next_nodes_death_finds_a_standby() -> None:
    """Either node may end once the shards stand apart again:
    a lease later every partition has a ready owner.
    """
    for lost in ("node-0", "node-9"):
        started = crowded()
        started.nodes.add("node-9")
        started.step()
        started.settle()
        started.lose_node(lost)
        started.step(7)
        assert started.coordinator.table.not_ready() == []


def test_a_move_waits_for_everything_else() -> None:
    """A standby that has not caught up is the last one: nothing is drained until it has."""
    started = crowded()
    process = started.processes[1]
    process.held = {p: replace(held, caught_up=False) for p, held in process.held.items()}
    started.kill(1)
    started.start(1).slow = True
    started.nodes.add("node-9")
    started.step(50)
    assert "to move to another node" not in started.coordinator.progress().waiting_for
    slow = started.processes[1]
    slow.slow = False
    slow.held = {
        p: PartitionReport(epoch=h.epoch, role=h.role, position=0, caught_up=True)
        for p, h in slow.held.items()
    }
    started.settle()
    assert started.places() == ["node-0", "node-9"]


def test_a_node_without_room_is_tried_once() -> None:
    """The shard came up elsewhere; it does not go round in circles."""
    started = crowded()
    started.nodes.add("node-9")
    full = started.coordinator.to_spawn
    started.coordinator.to_spawn = lambda: dict.fromkeys(full(), "node-0")  # type: ignore[method-assign]
    started.step()
    started.settle()
    assert started.places() == ["node-0", "node-0"]
    version = started.coordinator.table.version
    started.step(50)
    assert started.coordinator.table.version == version


def test_a_move_survives_the_coordinator() -> None:
    """Its successor stops what is empty and starts it where it was to go."""
    started = crowded()
    started.nodes.add("node-9")
    started.step()
    started.new_coordinator()
    started.settle()
    assert started.places() == ["node-0", "node-9"]


def test_a_process_that_ends_while_it_is_emptied_begins_anew() -> None:
    """It holds nothing, so it gets its part again wherever it starts; then it moves after all."""
    started = crowded()
    started.nodes.add("node-9")
    started.step()
    started.start(1)
    assert "to move" not in started.coordinator.progress().waiting_for.replace("to move or", "")
    started.settle()
    assert started.places() == ["node-0", "node-9"]


def test_who_is_drained_instead_is_not_started_anew() -> None:
    """An operator's word counts more than balance."""
    started = crowded()
    started.nodes.add("node-9")
    started.step()
    started.coordinator.drain(B)
    started.settle()
    assert started.owners() == [A] * 4
    assert started.places() == ["node-0", "node-0"]


def test_a_move_ends_where_it_is_when_all_others_are_gone() -> None:
    """Who was to be emptied is the only one left: it takes everything, and moves another time."""
    started = crowded()
    started.nodes.add("node-9")
    started.step()
    assert started.coordinator.progress().waiting_for.endswith("shard-1 to move to another node")
    started.kill(0)
    started.step(int(GIVEN_UP_S / STEP_S) + 3)
    assert started.owners() == [B] * 4
    started.start(0)
    started.settle()
    assert sorted(started.places()) == ["node-0", "node-9"]


def test_without_standbys_shards_spread_too() -> None:
    """They share their work, and a node's death takes no more than it must."""
    started = Deployment().start_all()
    started.lose_node("node-1")
    started.step(int(GIVEN_UP_S / STEP_S) + 2)
    started.start(1)
    started.settle()
    started.nodes.add("node-9")
    started.step()
    while started.coordinator.progress().waiting_for:
        started.step()
        assert started.coordinator.table.uncovered() == []
    assert started.places() == ["node-0", "node-9"]
    assert sorted(started.owners()) == [A, A, B, B]
