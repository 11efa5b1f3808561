"""Where the partitions should be, and one step of each towards it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from cluster.coordinator.handover import Handover
from cluster.coordinator.knowledge import Knowledge
from cluster.coordinator.ledger import Ledger, Member
from cluster.coordinator.placement import Placed, place
from cluster.coordinator.routing import Route
from cluster.coordinator.settings import CoordinatorSettings


class Planner:
    """From a ledger, and what is known of its shards, to the next ledger; it keeps nothing."""

    def __init__(self, known: Knowledge, settings: CoordinatorSettings) -> None:
        self._known = known
        self._settings = settings

    def step(self, ledger: Ledger, first_epoch: int) -> Ledger:
        """The ledger after one step of each partition; a new epoch is `first_epoch` or higher."""
        hosts = self._known.hosts(ledger)
        issued = list(ledger.issued)
        routes = [
            self._known.refreshed(partition, route, hosts)
            for partition, route in enumerate(ledger.table.routes)
        ]
        wants = self.wanted(ledger.with_routes(routes))
        moving = sum(
            _moves(*pair) and hosts.live(pair[1].owner) for pair in zip(routes, wants, strict=True)
        )

        def issue(partition: int) -> int:
            issued[partition] = max(issued[partition] + 1, first_epoch)
            return issued[partition]

        for partition, want in enumerate(wants):
            before = routes[partition]
            begins = moving < self._settings.moves_max
            failed = self._known.failed(partition, before)
            near = self._known.near(partition, before)
            handover = Handover(hosts, partial(issue, partition), failed, near)
            routes[partition] = handover.next(before, want, may_begin=begins)
            moving += _moves(routes[partition], want) and not _moves(before, want)
        ledger = replace(ledger.with_routes(routes), issued=tuple(issued))
        return replace(ledger, members=tuple(self._emptied(ledger)))

    def wanted(self, ledger: Ledger) -> list[Placed]:
        """Where each partition should be, with the shards that may hold any."""
        nodes = {m.name: m.node or m.name for m in ledger.members if self.may_hold(m, ledger)}
        return place(
            [_placed(route) for route in ledger.table.routes], nodes, self._settings.standbys
        )

    def unsettled(self, ledger: Ledger) -> int:
        """Partitions whose owner or standby is not where it should be, or not ready."""
        pairs = zip(ledger.table.routes, self.wanted(ledger), strict=True)
        return sum(not _settled(*pair) for pair in pairs)

    def another_may_hold(self, member: Member, ledger: Ledger) -> bool:
        """Whether a shard other than this one may hold partitions."""
        return any(other != member and self.may_hold(other, ledger) for other in ledger.members)

    def may_hold(self, member: Member, ledger: Ledger) -> bool:
        """Whether the shard is wanted, stays where it is, and is not given up."""
        excluded = (
            member.draining
            or member.moves_to
            or member.stopping
            or self._known.leases.given_up(member.name)
        )
        return member.number < ledger.shards_wanted and not excluded

    def _emptied(self, ledger: Ledger) -> Iterator[Member]:
        """The members; those that are to go, or to move,
        and hold nothing any more are to be stopped.

        A move ends where it is if all others are gone meanwhile.
        """
        for member in ledger.members:
            moves_to = (
                member.moves_to if member.stopping or self.another_may_hold(member, ledger) else ""
            )
            leaves = member.number >= ledger.shards_wanted or bool(moves_to)
            stopping = member.stopping or (leaves and not self._known.holds(member.name, ledger))
            yield replace(member, moves_to=moves_to, stopping=stopping)


def _placed(route: Route) -> Placed:
    return Placed(route.owner.shard, route.standby.shard if route.standby else None)


def _settled(route: Route, want: Placed) -> bool:
    return _placed(route) == want and all(replica.ready for _, replica in route.replicas())


def _moves(route: Route, want: Placed) -> bool:
    """Whether the partition's next owner is on its way."""
    return (
        route.owner.shard != want.owner
        and route.standby is not None
        and route.standby.shard == want.owner
    )
