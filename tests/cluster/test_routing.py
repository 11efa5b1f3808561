from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.traffic import Arm
from cluster.routing import Route, RoutingTable
from monitoring.discovery import Target

routes = st.builds(
    Route, shard=st.text(max_size=9), epoch=st.integers(0), address=st.text(max_size=9), ready=st.booleans()
)
arms = st.builds(
    Arm, name=st.text(), model_version=st.text(), role=st.sampled_from(["live", "shadow"]), weight=st.integers(0, 9)
)
targets = st.builds(Target, kind=st.sampled_from(["shard", "gateway"]), name=st.text(), address=st.text())
tables = st.builds(
    RoutingTable,
    version=st.integers(0),
    routes=st.lists(routes, max_size=5).map(tuple),
    arms=st.lists(arms, max_size=3).map(tuple),
    targets=st.lists(targets, max_size=3).map(tuple),
)


@given(table=tables)
def test_a_table_survives_json(table: RoutingTable) -> None:
    """What was written is read back, equal in every part."""
    assert RoutingTable.from_json(table.to_json()) == table


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "routes": [{"x": 1}], "arms": []}'])
def test_what_is_no_table_is_an_error(text: str) -> None:
    """Damaged JSON never becomes a table."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        RoutingTable.from_json(text)


def table() -> RoutingTable:
    """One partition that is ready, one without an owner, one that is catching up."""
    return RoutingTable(
        version=7,
        routes=(
            Route(shard="shard-0", epoch=3, address="h:1", ready=True),
            Route(shard="shard-1", epoch=5),
            Route(shard="shard-0", epoch=4, address="h:1"),
        ),
        arms=(Arm(name="a", model_version="v", role="live", weight=10_000),),
    )


def test_ready_needs_an_owner_that_has_caught_up() -> None:
    """Partition 1 has no address, partition 2 is catching up."""
    assert table().not_ready() == [1, 2]


def test_a_shard_finds_its_partitions() -> None:
    """Partitions with epochs of one shard; addresses once each."""
    assert table().epochs("shard-0") == {0: 3, 2: 4}
    assert table().addresses() == {"h:1"}
    assert [table().address_of(p) for p in range(3)] == ["h:1", "", "h:1"]


def test_clients_see_owners_only() -> None:
    """The proto leaves out what cannot be asked, and keeps the number of partitions."""
    proto = table().to_proto()
    assert (proto.version, proto.partitions, len(proto.routes)) == (7, 3, 2)
    assert [(each.partition, each.shard, each.epoch) for each in proto.routes] == [(0, "shard-0", 3), (2, "shard-0", 4)]
    assert (proto.arms[0].name, proto.arms[0].weight) == ("a", 10_000)
