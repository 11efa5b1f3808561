"""Which shard should hold what: balanced, with as few moves as that takes. Pure:
the same input, the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Placed(NamedTuple):
    """The shards of one partition's owner and standby."""

    owner: str
    standby: str | None = None


def place(current: Sequence[Placed], hosts: Mapping[str, str], standbys: int) -> list[Placed]:
    """Where each partition should be, given where it is and which shards may hold something.

    Owners are counted equal up to one, and no more of them change than that takes; those that must
    change go to their standby where it has room. A standby is never on its owner's shard, and on
    its owner's node only if there is no other; within that they are balanced, and stay where they
    are while they are. What is placed so stays so.

    Args:
        current: by partition; names that are no hosts (any more) count as places to leave.
        hosts: the node of each shard that may hold something; without any, all stays as it is.
        standbys: 0 or 1 for each partition.
    """
    if not hosts:
        return list(current)
    owners = _owners(current, hosts)
    backups = (
        _standbys(current, owners, hosts) if standbys and len(hosts) > 1 else [None] * len(owners)
    )
    return [Placed(owner, standby) for owner, standby in zip(owners, backups, strict=True)]


def _owners(current: Sequence[Placed], hosts: Mapping[str, str]) -> list[str]:
    held = {host: [p for p, placed in enumerate(current) if placed.owner == host] for host in hosts}
    room = _quotas({host: len(partitions) for host, partitions in held.items()}, len(current))
    for host, partitions in held.items():
        room[host] -= len(partitions)  # below 0: so many have to go
    leaving = [p for p, placed in enumerate(current) if placed.owner not in hosts]
    for host, partitions in held.items():
        if room[host] < 0:
            leaving += _to_give(partitions, -room[host], current, room)
            room[host] = 0
    owners = [placed.owner for placed in current]
    for partition in sorted(leaving, key=lambda p: not _has_room(current[p].standby, room)):
        standby = current[partition].standby
        chosen = (
            standby
            if standby and _has_room(standby, room)
            else min(room, key=lambda host: (-room[host], host))
        )
        owners[partition] = chosen
        room[chosen] -= 1
    return owners


def _quotas(counts: Mapping[str, int], partitions: int) -> dict[str, int]:
    """How many each host should own; the odd ones stay with those that own most already."""
    share, odd = divmod(partitions, len(counts))
    by_count = sorted(counts, key=lambda host: (-counts[host], host))
    return {host: share + (place < odd) for place, host in enumerate(by_count)}


def _to_give(
    partitions: list[int], count: int, current: Sequence[Placed], room: Mapping[str, int]
) -> list[int]:
    """Those whose standby can take over first, else the highest."""
    return sorted(partitions, key=lambda p: (not _has_room(current[p].standby, room), -p))[:count]


def _has_room(host: str | None, room: Mapping[str, int]) -> bool:
    return host is not None and room.get(host, 0) > 0


def _standbys(
    current: Sequence[Placed], owners: Sequence[str], hosts: Mapping[str, str]
) -> list[str | None]:
    """A standby for each partition, none beyond the fair share of its host.

    There always is such a placement (Hall's theorem: see `_fair_standbys`), but not always one that
    leaves everything that has its place: where all who may take a partition are full, others make
    room, along augmenting paths.
    """
    fair = _fair_standbys(owners, hosts)
    held: dict[str, list[int]] = {host: [] for host in hosts}
    for partition, placed in enumerate(current):
        if placed.standby in _able(owners[partition], hosts) and len(held[placed.standby]) < fair:
            held[placed.standby].append(partition)

    def seat(partition: int, full: set[str]) -> bool:
        """Whether a host was found, other than those known to be `full`."""
        for host in _by_worth(current[partition], _able(owners[partition], hosts), held):
            if len(held[host]) < fair:
                held[host].append(partition)
                return True
        for host in _able(owners[partition], hosts):
            if host not in full:
                full.add(host)
                if (
                    other := next((other for other in held[host] if seat(other, full)), None)
                ) is not None:
                    held[host].remove(other)
                    held[host].append(partition)
                    return True
        return False

    seated = {partition for partitions in held.values() for partition in partitions}
    for partition in range(len(current)):
        if partition not in seated and not seat(partition, set()):
            raise AssertionError(f"no host has room for the standby of partition {partition}")
    where = {partition: host for host, partitions in held.items() for partition in partitions}
    return [where[partition] for partition in range(len(current))]


def _able(owner: str, hosts: Mapping[str, str]) -> list[str]:
    """Who may be standby: the hosts on other nodes than the owner's, else the others on its own."""
    return [host for host in hosts if hosts[host] != hosts[owner]] or [
        host for host in hosts if host != owner
    ]


def _fair_standbys(owners: Sequence[str], hosts: Mapping[str, str]) -> int:
    """The most that a host must take: its part of all,
    or of those that a crowded node leaves to few others.

    Partitions owned on two nodes may go to any host between them, so no other set of them can ask
    for more.
    """
    owned = Counter(hosts[owner] for owner in owners)
    able = {hosts[owner]: len(_able(owner, hosts)) for owner in owners}
    parts = [(len(owners), len(hosts)), *((owned[node], able[node]) for node in owned)]
    return max(-(-partitions // takers) for partitions, takers in parts)


def _by_worth(placed: Placed, able: Sequence[str], held: Mapping[str, Sequence[int]]) -> list[str]:
    """Those with the states in memory already first, then the least loaded."""
    return sorted(
        able, key=lambda host: (host != placed.owner, host != placed.standby, len(held[host]), host)
    )
