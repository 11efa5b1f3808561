from __future__ import annotations

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from cluster.coordinator.placement import Placed, place

NAMES = [f"shard-{number}" for number in range(5)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Placed], dict[str, str], int]:
    """Partitions anywhere, also on shards that left;
    some hosts on three nodes; with and without standbys.
    """
    names = st.sampled_from(NAMES)
    current = draw(st.lists(st.builds(Placed, names, st.none() | names), min_size=1, max_size=17))
    hosts = draw(
        st.dictionaries(names, st.sampled_from(["node-a", "node-b", "node-c"]), min_size=1)
    )
    return current, hosts, draw(st.sampled_from([0, 1]))


@given(situation=situations())
def test_it_is_balanced(situation: tuple[list[Placed], dict[str, str], int]) -> None:
    """Every partition has an owner among the hosts, and no host owns two more than another."""
    current, hosts, standbys = situation
    owned = Counter(placed.owner for placed in place(current, hosts, standbys))
    assert owned.keys() <= hosts.keys()
    assert max(owned[host] for host in hosts) - min(owned[host] for host in hosts) <= 1


@given(situation=situations())
def test_no_owner_changes_without_need(situation: tuple[list[Placed], dict[str, str], int]) -> None:
    """As many move as sit on hosts above their share, or on none: not one more."""
    current, hosts, standbys = situation
    pairs = zip(place(current, hosts, standbys), current, strict=True)
    moved = sum(placed.owner != before.owner for placed, before in pairs)
    counts = sorted(
        (Counter(placed.owner for placed in current)[host] for host in hosts), reverse=True
    )
    share, odd = divmod(len(current), len(hosts))
    needed = len(current) - sum(min(count, share + (at < odd)) for at, count in enumerate(counts))
    assert moved == needed


@given(situation=situations())
def test_standbys_are_elsewhere_and_spread(
    situation: tuple[list[Placed], dict[str, str], int],
) -> None:
    """None beside its owner; one for each partition where two hosts or more allow it,
    none where none is asked for.
    """
    current, hosts, standbys = situation
    placed = place(current, hosts, standbys)
    assert all((each.standby is not None) == (standbys == 1 and len(hosts) > 1) for each in placed)
    assert all(each.standby != each.owner for each in placed)
    assert {each.standby for each in placed} - {None} <= hosts.keys()


CROWDED = (
    [
        Placed("shard-0"),
        Placed("shard-0"),
        Placed("shard-1"),
        Placed("shard-0"),
        Placed("shard-3", "shard-0"),
    ],
    {"shard-0": "b", "shard-1": "b", "shard-3": "c", "shard-2": "a", "shard-4": "a"},
    1,
)


@given(situation=situations())
@example(situation=CROWDED)
def test_what_is_placed_stays(situation: tuple[list[Placed], dict[str, str], int]) -> None:
    """A placement is where it wants to be."""
    current, hosts, standbys = situation
    placed = place(current, hosts, standbys)
    assert place(placed, hosts, standbys) == placed


@given(situation=situations())
def test_a_move_that_has_begun_goes_on(situation: tuple[list[Placed], dict[str, str], int]) -> None:
    """A partition whose next owner is its standby by now still wants to go there."""
    current, hosts, standbys = situation
    wanted = place(current, hosts, standbys)
    begun = [
        Placed(before.owner, want.owner)
        if before.owner in hosts and before.owner != want.owner
        else before
        for before, want in zip(current, wanted, strict=True)
    ]
    again = place(begun, hosts, standbys)
    for before, want, still in zip(current, wanted, again, strict=True):
        if before.owner in hosts and before.owner != want.owner:
            assert still.owner == want.owner


def test_the_standby_takes_over_rather_than_a_stranger() -> None:
    """Partitions of a host that is gone go to where their states are in memory."""
    current = [Placed("a", "b"), Placed("a", "c"), Placed("b", "c"), Placed("c", "b")]
    assert place(current, {"b": "n", "c": "n"}, 0)[:2] == [Placed("b"), Placed("c")]


@given(situation=situations())
def test_no_node_has_both_replicas_unless_it_is_the_only_one(
    situation: tuple[list[Placed], dict[str, str], int],
) -> None:
    """A node that dies leaves a replica of every partition,
    also where balance must suffer for it.
    """
    current, hosts, _ = situation
    for each in place(current, hosts, 1):
        if each.standby and len(set(hosts.values())) > 1:
            assert hosts[each.owner] != hosts[each.standby]


def test_standbys_are_balanced_as_far_as_nodes_allow() -> None:
    """The one shard of a node takes all of the others', who share its own."""
    current = [Placed("a"), Placed("a"), Placed("b"), Placed("b"), Placed("c"), Placed("c")]
    placed = place(current, {"a": "one", "b": "one", "c": "two"}, 1)
    assert [each.standby for each in placed[:4]] == ["c"] * 4
    assert sorted(each.standby for each in placed[4:] if each.standby) == ["a", "b"]


def test_a_standby_leaves_its_owners_node() -> None:
    """As when a second node is there again after both shards had to share the first."""
    current = [Placed("a", "b"), Placed("b", "a"), Placed("c", "a")]
    placed = place(current, {"a": "one", "b": "one", "c": "two"}, 1)
    assert placed == [Placed("a", "c"), Placed("b", "c"), Placed("c", "a")]


def test_without_hosts_all_stays() -> None:
    """There is nowhere to go to."""
    assert place([Placed("a", "b")], {}, 1) == [Placed("a", "b")]
