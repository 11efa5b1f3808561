"""What is known of the shards by now: whether they live, and what each said last."""

from __future__ import annotations

from dataclasses import replace

from actors.clock import Clock
from actors.shard.roles import PartitionReport, Report
from cluster.coordinator.handover import Host, Hosts
from cluster.coordinator.leases import Leases
from cluster.coordinator.ledger import Ledger
from cluster.coordinator.routing import Replica, Route
from cluster.coordinator.settings import CoordinatorSettings


class Knowledge:
    """Leases and last words of the shards; nothing of it is saved."""

    def __init__(self, clock: Clock, settings: CoordinatorSettings) -> None:
        self.leases = Leases(clock, settings.lease_s, settings.grace_s)
        self._lag_max = settings.handover_lag_max
        self._reports: dict[str, Report] = {}  # of the newest incarnations
        self._said = 0  # reports with news

    def begin(self, shard: str) -> None:
        """A new process of the shard lives, and has said nothing yet."""
        self._reports.pop(shard, None)
        self.leases.forgive_own_sleep()
        self.leases.renew(shard)

    def hear(self, shard: str, report: Report) -> None:
        """The shard lives and said this."""
        if _news(report) != _news(self._reports.get(shard)):
            self._said += 1
        self._reports[shard] = report
        self.leases.renew(shard)

    def forget(self, shard: str) -> None:
        """The shard will not be heard of again."""
        self.leases.forget(shard)
        self._reports.pop(shard, None)

    def so_far(self, ledger: Ledger) -> object:
        """All that a step depends on, as something to compare: most ticks find nothing new."""
        self.leases.forgive_own_sleep()
        names = [member.name for member in ledger.members]
        near = [self.near(partition, route) for partition, route in enumerate(ledger.table.routes)]
        return (
            ledger.table.version,
            self._said,
            near,
            [(self.leases.runs(n), self.leases.given_up(n)) for n in names],
        )

    def hosts(self, ledger: Ledger) -> Hosts:
        """The shards of the ledger and of its table: who registered, who lives, who is given up."""
        registered = {
            member.name: Host(member.address, member.incarnation, self.leases.runs(member.name))
            for member in ledger.members
            if member.address
        }
        named = {replica.shard for route in ledger.table.routes for _, replica in route.replicas()}
        return Hosts(registered, frozenset(filter(self.leases.given_up, named)))

    def refreshed(self, partition: int, route: Route, hosts: Hosts) -> Route:
        """The route with what is known of its shards by now."""

        def refreshed(replica: Replica) -> Replica:
            host = hosts.registered.get(replica.shard)
            if host is None or host.incarnation != replica.incarnation:
                return replace(replica, address="", ready=False)
            held = self._held(partition, replica)
            # between a newer epoch and the shard's word under it, the states go on as they were
            caught_up = held.caught_up if held and held.epoch == replica.epoch else replica.ready
            behind = held.behind if held and held.epoch == replica.epoch else replica.behind
            return replace(
                replica, address=host.address, ready=caught_up and host.live, behind=behind
            )

        return Route(
            owner=refreshed(route.owner),
            standby=refreshed(route.standby) if route.standby else None,
        )

    def near(self, partition: int, route: Route) -> bool:
        """Whether the standby is about as far as the owner, by their last words;
        an owner that restores is nowhere.
        """
        if route.standby is None or (owner := self._held(partition, route.owner)) is None:
            return True
        standby = self._held(partition, route.standby)
        return standby is not None and owner.position - standby.position <= self._lag_max

    def failed(self, partition: int, route: Route) -> frozenset[str]:
        """The shards that gave the partition up under the epoch that they have now."""
        return frozenset(
            replica.shard
            for _, replica in route.replicas()
            if (report := self._reports.get(replica.shard))
            and report.failed.get(partition) == replica.epoch
        )

    def holds(self, shard: str, ledger: Ledger) -> bool:
        """Whether the table, or the shard's own word, gives it anything."""
        report = self._reports.get(shard)
        believes = report is not None and bool(report.held) and not self.leases.given_up(shard)
        return believes or bool(ledger.table.grants(shard))

    def _held(self, partition: int, replica: Replica) -> PartitionReport | None:
        """What the replica's shard said of the partition last, under any epoch."""
        report = self._reports.get(replica.shard)
        return report.held.get(partition) if report else None


def _news(report: Report | None) -> object:
    """What of a report can change the table; positions alone do not."""
    news = (
        {p: (held.epoch, held.caught_up, held.behind) for p, held in report.held.items()}
        if report
        else None
    )
    return report and (news, report.failed)
