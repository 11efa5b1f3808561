from __future__ import annotations

from dataclasses import replace

from actors.serve.traffic import Arm
from actors.shard.roles import Grant, Role
from cluster.coordinator.routing import Replica, Route, RoutingTable


def table() -> RoutingTable:
    """Ready; without an owner; catching up; a dead owner with a ready standby."""
    return RoutingTable(
        version=7,
        routes=(
            Route(
                owner=Replica(shard="shard-0", epoch=3, address="h:1", ready=True),
                standby=Replica(shard="shard-1", epoch=4, address="h:2"),
            ),
            Route(owner=Replica(shard="shard-1", epoch=5)),
            Route(owner=Replica(shard="shard-0", epoch=4, address="h:1")),
            Route(
                owner=Replica(shard="shard-0", epoch=4),
                standby=Replica(shard="shard-1", epoch=6, address="h:2", ready=True),
            ),
        ),
        arms=(Arm(name="a", model_version="v", role="live", weight=10_000),),
    )


def test_ready_needs_an_owner_that_has_caught_up() -> None:
    """Partitions 1 and 3 have no address, partition 2 is catching up;
    a ready standby covers partition 3.
    """
    assert table().not_ready() == [1, 2, 3]
    assert table().uncovered() == [1, 2]


def test_a_shard_finds_its_partitions() -> None:
    """Epoch and role of each partition of a shard; addresses once each."""
    assert table().grants("shard-0") == {0: Grant(3), 2: Grant(4), 3: Grant(4)}
    assert table().grants("shard-1") == {
        0: Grant(4, Role.STANDBY),
        1: Grant(5),
        3: Grant(6, Role.STANDBY),
    }
    assert table().addresses() == {"h:1", "h:2"}


def test_who_is_ready_is_asked_first() -> None:
    """A standby that lags is asked only where nobody is ready;
    nobody is asked without an address.
    """
    assert [table().ways(p) for p in range(4)] == [["h:1"], [], ["h:1"], ["h:2"]]
    both_ready = replace(
        table().routes[0], standby=replace(table().routes[3].owner, address="h:2", ready=True)
    )
    none_ready = replace(table().routes[0], owner=replace(table().routes[0].owner, ready=False))
    routes = replace(table(), routes=(both_ready, none_ready))
    assert [routes.ways(p) for p in range(2)] == [["h:1", "h:2"], ["h:1", "h:2"]]


def test_replicas_are_the_registered_ones_of_a_role() -> None:
    """By partition; an owner that is gone is left out."""
    assert {p: replica.epoch for p, replica in table().replicas(Role.OWNER).items()} == {0: 3, 2: 4}
    assert {p: replica.epoch for p, replica in table().replicas(Role.STANDBY).items()} == {
        0: 4,
        3: 6,
    }


def test_clients_see_who_can_be_asked() -> None:
    """The proto leaves out what cannot be asked, and keeps the number of partitions."""
    proto = table().to_proto()
    assert (proto.version, proto.partitions, len(proto.routes)) == (7, 4, 3)
    assert [(each.partition, each.shard, each.epoch, each.ready) for each in proto.routes] == [
        (0, "shard-0", 3, True),
        (2, "shard-0", 4, False),
        (3, "shard-0", 4, False),
    ]
    assert [each.HasField("standby") for each in proto.routes] == [True, False, True]
    standby = proto.routes[2].standby
    assert (standby.shard, standby.address, standby.epoch, standby.ready) == (
        "shard-1",
        "h:2",
        6,
        True,
    )
    assert (proto.arms[0].name, proto.arms[0].weight) == ("a", 10_000)
