"""Which shard should hold what: balanced, with as few moves as that takes. Pure: the same input, the same answer."""

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

    Owners are counted equal up to one, and no more of them change than that takes; those that must change go to
    their standby where it has room. A standby is never on its owner's shard, and on its owner's node only if there is
    no other; within that they are balanced, and stay where they are while they are. What is placed so stays so.

    Args:
        current: by partition; names that are no hosts (any more) count as places to leave.
        hosts: the node of each shard that may hold something; without any, all stays as it is.
        standbys: 0 or 1 for each partition.
    """
    if not hosts:
        return list(current)
    owners = _owners(current, hosts)
    backups = _standbys(current, owners, hosts) if standbys and len(hosts) > 1 else [None] * len(owners)
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
        chosen = standby if standby and _has_room(standby, room) else min(room, key=lambda host: (-room[host], host))
        owners[partition] = chosen
        room[chosen] -= 1
    return owners


def _quotas(counts: Mapping[str, int], partitions: int) -> dict[str, int]:
    """How many each host should own; the odd ones stay with those that own most already."""
    share, odd = divmod(partitions, len(counts))
    by_count = sorted(counts, key=lambda host: (-counts[host], host))
    return {host: share + (place < odd) for place, host in enumerate(by_count)}


def _to_give(partitions: list[int], count: int, current: Sequence[Placed], room: Mapping[str, int]) -> list[int]:
    """Those whose standby can take over first, else the highest."""
    return sorted(partitions, key=lambda p: (not _has_room(current[p].standby, room), -p))[:count]


def _has_room(host: str | None, room: Mapping[str, int]) -> bool:
    return host is not None and room.get(host, 0) > 0


def _standbys(current: Sequence[Placed], owners: Sequence[str], hosts: Mapping[str, str]) -> list[str | None]:
    fair = _fair_standbys(owners, hosts)
    load: Counter[str] = Counter()
    chosen: list[str | None] = [None] * len(current)
    for partition, placed in enumerate(current):
        standby = placed.standby
        if standby in _able(owners[partition], hosts) and load[standby] < fair:
            chosen[partition] = standby
            load[standby] += 1
    for partition, placed in enumerate(current):
        if chosen[partition] is None:
            best = _best_standby(placed, owners[partition], hosts, load, fair)
            chosen[partition] = best
            load[best] += 1
    return chosen


def _able(owner: str, hosts: Mapping[str, str]) -> list[str]:
    """Who may be standby: the hosts on other nodes than the owner's, else the others on its own."""
    return [host for host in hosts if hosts[host] != hosts[owner]] or [host for host in hosts if host != owner]


def _fair_standbys(owners: Sequence[str], hosts: Mapping[str, str]) -> int:
    """How many a host must take at least: its part of all, or of those that a crowded node leaves to few others."""
    owned = Counter(hosts[owner] for owner in owners)
    able = {hosts[owner]: len(_able(owner, hosts)) for owner in owners}
    parts = [(len(owners), len(hosts)), *((owned[node], able[node]) for node in owned)]
    return max(-(-partitions // takers) for partitions, takers in parts)


def _best_standby(placed: Placed, owner: str, hosts: Mapping[str, str], load: Mapping[str, int], fair: int) -> str:
    """Within its fair share, with the states in memory already, least loaded."""

    def worth(host: str) -> tuple[bool, bool, bool, int, str]:
        return (load[host] >= fair, host != placed.owner, host != placed.standby, load[host], host)

    return min(_able(owner, hosts), key=worth)
