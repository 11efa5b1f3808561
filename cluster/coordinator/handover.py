"""What becomes of one partition next: failover, hand-over, standby. Pure;
one step at a time, each safe to repeat.

A hand-over takes three steps: the new shard becomes standby and catches up, then owner under a
newer epoch, and the old owner, which answered until then, becomes standby or lets go. A failover
takes the last of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from cluster.coordinator.placement import Placed
from cluster.coordinator.routing import Replica, Route


class Host(NamedTuple):
    """A shard's process, as of now."""

    address: str
    incarnation: int
    live: bool  # its lease runs


@dataclass(frozen=True, slots=True)
class Hosts:
    """All shards: those that registered, and those that are given up."""

    registered: Mapping[str, Host]
    gone: frozenset[str]

    def live(self, shard: str | None) -> bool:
        """Whether the shard's process was heard of within its lease."""
        return shard is not None and (host := self.registered.get(shard)) is not None and host.live

    def lost(self, replica: Replica) -> bool:
        """Whether the process that was granted the replica has a
        successor, which knows nothing of it.
        """
        host = self.registered.get(replica.shard)
        return host is not None and host.incarnation != replica.incarnation


@dataclass(frozen=True, slots=True)
class Handover:
    """The rules for one partition, over one moment's view of the shards."""

    hosts: Hosts
    issue: Callable[[], int]  # gives the partition's next epoch
    failed: frozenset[str] = frozenset()  # shards that gave the partition up by themselves
    # the standby is close to the owner, which it may have lost sight of since it was ready
    near: bool = True

    def next(self, route: Route, want: Placed, *, may_begin: bool) -> Route:
        """The route one step nearer to `want`.
        A move begins only if `may_begin`; one that has begun goes on.
        """
        route = self._renewed(self._promoted(route, want))
        if route.owner.shard == want.owner:
            return self._with_standby(route, want.standby)
        return self._moved(route, want, may_begin=may_begin)

    def _promoted(self, route: Route, want: Placed) -> Route:
        """Failover: to the standby once it is ready or nothing better is
        left, else to any live shard.
        """
        owner = route.owner
        standby = route.standby
        given_up = owner.shard in self.hosts.gone
        sound = self.hosts.live(owner.shard) and not self._is_lost(owner)
        if standby and self.hosts.live(standby.shard) and not self._is_lost(standby):
            if not sound and (standby.ready or given_up):
                return Route(owner=self._again(standby, ready=standby.ready))
        elif given_up and self.hosts.live(want.owner):
            return Route(owner=self._granted(want.owner))
        return route

    def _renewed(self, route: Route) -> Route:
        """A process that came back, or gave a partition up, gets it again under a newer epoch."""
        owner = route.owner
        standby = route.standby
        if self._is_lost(owner):
            owner = self._again(owner, ready=False)
        if standby and self._is_lost(standby):
            standby = self._again(standby, ready=False)
        return Route(owner=owner, standby=standby)

    def _with_standby(self, route: Route, wanted: str | None) -> Route:
        standby = route.standby
        if standby and standby.shard != wanted and (wanted is None or self.hosts.live(wanted)):
            standby = None
        if standby is None and wanted is not None and self.hosts.live(wanted):
            standby = self._granted(wanted)
        return replace(route, standby=standby)

    def _moved(self, route: Route, want: Placed, *, may_begin: bool) -> Route:
        owner = route.owner
        standby = route.standby
        if standby is None or standby.shard != want.owner:
            begins = may_begin and self.hosts.live(want.owner)
            return replace(route, standby=self._granted(want.owner)) if begins else route
        if not (standby.ready and self.near):
            return route
        stays = want.standby == owner.shard and self.hosts.live(owner.shard)
        return Route(
            owner=self._again(standby, ready=True),
            standby=self._again(owner, ready=owner.ready) if stays else None,
        )

    def _is_lost(self, replica: Replica) -> bool:
        return self.hosts.lost(replica) or (
            replica.shard in self.failed and self.hosts.live(replica.shard)
        )

    def _granted(self, shard: str) -> Replica:
        """A replica at a shard that has nothing of the partition yet."""
        host = self.hosts.registered[shard]
        return Replica(
            shard=shard, epoch=self.issue(), incarnation=host.incarnation, address=host.address
        )

    def _again(self, replica: Replica, *, ready: bool) -> Replica:
        """The same shard under a newer epoch; `ready` if its states go on."""
        return replace(self._granted(replica.shard), ready=ready)
