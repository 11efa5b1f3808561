"""The one who says which shard holds which partition, in which role, and under which epoch.

A state machine without threads or files of its own: time is a clock that is passed in, and whoever
drives it calls `tick` a few times a lease. Nobody waits in it but who asks for the next table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

from actors.clock import Clock
from actors.errors import InvalidRequest, NotOwner
from actors.serve.traffic import Arm
from actors.shard.roles import Assignment, PartitionReport, Report
from cluster.coordinator.handover import Handover, Host, Hosts
from cluster.coordinator.leases import Leases
from cluster.coordinator.ledger import Ledger, Member, first_ledger
from cluster.coordinator.placement import Placed, place
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.coordinator.spreading import next_move
from monitoring.discovery import Target

log = logging.getLogger(__name__)


class Memory(Protocol):
    """Where the ledger outlives the coordinator."""

    @property
    def first_epoch(self) -> int:
        """The first epoch of this coordinator's generation;
        no other coordinator gives out what follows.
        """

    def load(self) -> Ledger | None:
        """What was saved last; begins a generation."""

    def save(self, ledger: Ledger) -> None:
        """Keep this instead; Superseded if another coordinator has begun a newer generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    """How patient the coordinator is, and how much it keeps in reserve."""

    standbys: int = 0  # of each partition: 0 or 1
    lease_s: float = 1.0  # without a heartbeat for so long, a shard's standbys take over
    grace_s: float = 5.0  # and so much later its partitions go to others
    # a shard that has not registered yet gets so long: the first start compiles
    start_s: float = 120.0
    handover_lag_max: int = 1000  # records by which a new owner may be behind the old one
    # partitions that move at a time: each is in memory twice, and without its standby
    moves_max: int = 4


class Progress(NamedTuple):
    """How far the shards are from what was asked for."""

    shards_now: int
    shards_wanted: int
    to_move: int  # partitions whose owner or standby is not where it should be, or not ready
    waiting_for: str  # in words; empty when nothing is left to do


class Coordinator:
    """Assigns partitions, fences old owners by epoch, and publishes routing tables.

    Shards register once a process and then send heartbeats, whose answer is all that they are to
    hold. Every change is saved before anybody sees it. After its own death the coordinator goes on
    with what it finds, if that is of the same run, and else keeps only the epochs: processes of
    another run mean nothing.

    Raises:
        ConfigError: what was saved is for another number of partitions.
        SnapshotError, Superseded: the memory cannot be used, or was taken over by another run while
            this one restarted.
    """

    def __init__(
        self,
        *,
        run: str,
        partitions: int,
        shards: int,
        arms: Iterable[Arm],
        memory: Memory,
        clock: Clock,
        settings: CoordinatorSettings,
        restarted: bool = False,
    ) -> None:
        self._memory = memory
        self._settings = settings
        self._changed = asyncio.Event()
        self._reports: dict[str, Report] = {}  # of the newest incarnations
        self._said = 0  # reports with news
        self._settled: object = None  # what was known when a step changed nothing
        # nodes on which a shard was to start that started elsewhere
        self._refusing: set[str] = set()
        self._ledger = first_ledger(
            memory.load(),
            run=run,
            restarted=restarted,
            partitions=partitions,
            shards=shards,
            arms=tuple(arms),
        )
        memory.save(self._ledger)
        self._leases = Leases(clock, settings.lease_s, settings.grace_s)
        for member in self._ledger.members:
            self._leases.expect(
                member.name, settings.lease_s if member.address else settings.start_s
            )

    @property
    def table(self) -> RoutingTable:
        """What is published."""
        return self._ledger.table

    def register(self, shard: str, address: str, target: Target, node: str) -> int:
        """A shard's process starts on `node` and answers gRPC at `address`;
        its incarnation, for its heartbeats.

        Whatever its predecessor held has a newer epoch, or another shard, before this returns.

        Raises:
            UnknownShard: no shard of that name is part of the deployment.
            SnapshotError, Superseded: it could not be saved; nothing was published.
        """
        member = self._ledger.member(shard)
        incarnation = self._ledger.incarnations + 1
        # else it came back before it was empty
        moves_to = member.moves_to if member.stopping else ""
        came = replace(
            member,
            address=address,
            node=node,
            incarnation=incarnation,
            spawned=True,
            draining=False,
        )
        if not member.address and member.node not in ("", node):
            self._refusing.add(member.node)
        self._reports.pop(shard, None)
        self._leases.forgive_own_sleep()
        self._leases.renew(shard)
        ledger = self._ledger.with_member(replace(came, moves_to=moves_to)).with_target(target)
        self._publish(self._stepped(replace(ledger, incarnations=incarnation)))
        return incarnation

    def heartbeat(self, shard: str, report: Report) -> Assignment:
        """A shard lives and says what it holds; what it is to hold.
        Nothing is saved or published by this.

        Raises:
            NotOwner: the process has a successor, or the shard is no part of the deployment; the
                process should end.
        """
        member = self._ledger.member(shard)
        if not member.address or report.incarnation != member.incarnation:
            raise NotOwner(
                f"incarnation {report.incarnation} of {shard} is not the one that registered last "
                f"({member.incarnation}); it was replaced and has to end"
            )
        if _news(report) != _news(self._reports.get(shard)):
            self._said += 1
        self._reports[shard] = report
        self._leases.renew(shard)
        return Assignment(lease_s=self._settings.lease_s, grants=self.table.grants(shard))

    def join(self, target: Target) -> None:
        """A process other than a shard starts, with metrics at `target`."""
        self._publish(self._ledger.with_target(target))

    def tick(self) -> None:
        """Take up what heartbeats said and did not say: one step of each partition.
        Call it several times a lease.

        Raises:
            SnapshotError, Superseded: it could not be saved; nothing was published.
        """
        known = self._known()
        if known == self._settled:
            return
        if not self._publish(self._stepped(self._ledger)):
            self._settled = known

    def scale(self, shards: int) -> Progress:
        """Ask for so many shards: new ones are to be spawned,
        those numbered beyond to be emptied and stopped.

        Raises:
            InvalidRequest: none, more than there are partitions, or only such as are being drained.
        """
        if not 1 <= shards <= self.table.partitions:
            text = (
                f"{shards} shards for {self.table.partitions} partitions; ask for 1 to "
                f"{self.table.partitions}"
            )
            raise InvalidRequest("shards", text)
        ledger = replace(self._ledger, shards_wanted=shards)
        known = {m.number for m in self._ledger.members}
        for number in set(range(shards)) - known:
            ledger = ledger.with_member(Member(number=number, spawned=False))
        if all(member.draining for member in ledger.members if member.number < shards):
            text = (
                f"all of the {shards} shards that would stay are being drained; ask for more, "
                "or restart one of them"
            )
            raise InvalidRequest("shards", text)
        self._publish(ledger)
        return self.progress()

    def drain(self, shard: str) -> Progress:
        """Empty a shard, which stays empty until its process starts anew.

        Raises:
            UnknownShard: no shard of that name is part of the deployment.
            InvalidRequest: no other shard could take what it holds.
        """
        member = self._ledger.member(shard)
        if not self._another_may_hold(member, self._ledger):
            raise InvalidRequest(
                "shard", f"no other shard could take what {shard} holds; add one (echorank scale)"
            )
        self._publish(self._ledger.with_member(replace(member, draining=True, moves_to="")))
        return self.progress()

    def spread(self, nodes: Collection[str]) -> None:
        """Begin to move a shard if shards crowd on one of `nodes`,
        which may take some, while another has room.

        It is emptied, stopped and started anew there, while its partitions are served elsewhere.
        One at a time, only when nothing else is left to do, and never again to a node on which a
        shard did not come up.

        Raises:
            SnapshotError, Superseded: it could not be saved; nothing moves.
        """
        self._refusing.intersection_update(nodes)
        if self.progress().waiting_for:
            return
        ledger = self._ledger
        movable = [
            m.name for m in ledger.members if not m.draining and self._another_may_hold(m, ledger)
        ]
        places = {member.name: member.node for member in ledger.members}
        if move := next_move(places, movable, set(nodes) - self._refusing):
            log.warning("%s moves to node %s, because shards crowd where it is", *move)
            self._publish(
                ledger.with_member(replace(ledger.member(move.shard), moves_to=move.node))
            )

    def progress(self) -> Progress:
        """How far the shards are from what was asked for."""
        members = self._ledger.members
        wanted = self._ledger.shards_wanted
        off = sum(
            not _settled(*pair)
            for pair in zip(self.table.routes, self._wanted(self._ledger), strict=True)
        )
        waiting = [
            member.name for member in members if member.number < wanted and not member.address
        ]
        leaving = [member.name for member in members if member.number >= wanted]
        moving = [member.name for member in members if member.moves_to]
        parts = (
            f"{off} partitions to move or catch up" if off else "",
            f"{', '.join(waiting)} to register" if waiting else "",
            f"{', '.join(leaving)} to stop" if leaving else "",
            f"{', '.join(moving)} to move to another node" if moving else "",
        )
        return Progress(len(members) - len(waiting), wanted, off, ", ".join(filter(None, parts)))

    def to_spawn(self) -> dict[int, str]:
        """Shards whose actors are to be started, which may be done twice;
        then `spawned`. Each with its node, or "".
        """
        waiting = (member for member in self._ledger.members if not member.spawned)
        return {
            member.number: member.node
            for member in waiting
            if member.number < self._ledger.shards_wanted
        }

    def spawned(self, number: int) -> None:
        """The actor of a shard was started, and will register."""
        member = next(member for member in self._ledger.members if member.number == number)
        self._leases.expect(member.name, self._settings.start_s)
        self._publish(self._ledger.with_member(replace(member, spawned=True)))

    def to_stop(self) -> list[int]:
        """Numbers of emptied shards whose actors are to be stopped,
        which may be done twice; then `stopped`.
        """
        return [member.number for member in self._ledger.members if member.stopping]

    def stopped(self, number: int) -> None:
        """The actor of a shard has ended for good;
        if it is wanted again by now, it is to be spawned anew.
        """
        [was] = [member for member in self._ledger.members if member.number == number]
        ledger = self._ledger.without_member(number)
        shard = Member(number=number, node=was.moves_to, spawned=False)
        self._publish(ledger.with_member(shard) if number < ledger.shards_wanted else ledger)
        self._leases.forget(shard.name)
        self._reports.pop(shard.name, None)

    async def wait_newer(self, version: int, timeout_s: float) -> RoutingTable:
        """The table as soon as its version is above `version`;
        after `timeout_s` seconds as it is.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.table.version <= version:
                    await self._changed.wait()
        except TimeoutError:
            log.debug("no table newer than %d in %.0f s", version, timeout_s)
        return self.table

    def _known(self) -> object:
        """All that a step depends on, as something to compare: most ticks find nothing new."""
        self._leases.forgive_own_sleep()
        names = [member.name for member in self._ledger.members]
        near = [self._near(partition, route) for partition, route in enumerate(self.table.routes)]
        return (
            self.table.version,
            self._said,
            near,
            [(self._leases.runs(n), self._leases.given_up(n)) for n in names],
        )

    def _stepped(self, ledger: Ledger) -> Ledger:
        """The ledger after one step of each partition."""
        hosts = self._hosts(ledger)
        issued = list(ledger.issued)
        routes = [
            self._refreshed(partition, route, hosts)
            for partition, route in enumerate(ledger.table.routes)
        ]
        wants = self._wanted(ledger.with_routes(routes))
        moving = sum(
            _moves(*pair) and hosts.live(pair[1].owner) for pair in zip(routes, wants, strict=True)
        )

        def issue(partition: int) -> int:
            issued[partition] = max(issued[partition] + 1, self._memory.first_epoch)
            return issued[partition]

        for partition, want in enumerate(wants):
            before = routes[partition]
            begins = moving < self._settings.moves_max
            failed = self._failed(partition, before)
            near = self._near(partition, before)
            handover = Handover(hosts, partial(issue, partition), failed, near)
            routes[partition] = handover.next(before, want, may_begin=begins)
            moving += _moves(routes[partition], want) and not _moves(before, want)
        ledger = replace(ledger.with_routes(routes), issued=tuple(issued))
        return replace(ledger, members=tuple(self._emptied(ledger)))

    def _hosts(self, ledger: Ledger) -> Hosts:
        registered = {
            member.name: Host(member.address, member.incarnation, self._leases.runs(member.name))
            for member in ledger.members
            if member.address
        }
        named = {replica.shard for route in ledger.table.routes for _, replica in route.replicas()}
        return Hosts(registered, frozenset(filter(self._leases.given_up, named)))

    def _refreshed(self, partition: int, route: Route, hosts: Hosts) -> Route:
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

    def _near(self, partition: int, route: Route) -> bool:
        """Whether the standby is about as far as the owner, by their last words;
        an owner that restores is nowhere.
        """
        if route.standby is None or (owner := self._held(partition, route.owner)) is None:
            return True
        standby = self._held(partition, route.standby)
        return (
            standby is not None
            and owner.position - standby.position <= self._settings.handover_lag_max
        )

    def _held(self, partition: int, replica: Replica) -> PartitionReport | None:
        """What the replica's shard said of the partition last, under any epoch."""
        report = self._reports.get(replica.shard)
        return report.held.get(partition) if report else None

    def _failed(self, partition: int, route: Route) -> frozenset[str]:
        """The shards that gave the partition up under the epoch that they have now."""
        return frozenset(
            replica.shard
            for _, replica in route.replicas()
            if (report := self._reports.get(replica.shard))
            and report.failed.get(partition) == replica.epoch
        )

    def _wanted(self, ledger: Ledger) -> list[Placed]:
        nodes = {m.name: m.node or m.name for m in ledger.members if self._may_hold(m, ledger)}
        return place(
            [_placed(route) for route in ledger.table.routes], nodes, self._settings.standbys
        )

    def _may_hold(self, member: Member, ledger: Ledger) -> bool:
        excluded = (
            member.draining
            or member.moves_to
            or member.stopping
            or self._leases.given_up(member.name)
        )
        return member.number < ledger.shards_wanted and not excluded

    def _another_may_hold(self, member: Member, ledger: Ledger) -> bool:
        return any(other != member and self._may_hold(other, ledger) for other in ledger.members)

    def _emptied(self, ledger: Ledger) -> Iterator[Member]:
        """The members; those that are to go, or to move,
        and hold nothing any more are to be stopped.

        A move ends where it is if all others are gone meanwhile.
        """
        for member in ledger.members:
            moves_to = (
                member.moves_to if member.stopping or self._another_may_hold(member, ledger) else ""
            )
            leaves = member.number >= ledger.shards_wanted or bool(moves_to)
            stopping = member.stopping or (leaves and not self._holds(member.name, ledger))
            yield replace(member, moves_to=moves_to, stopping=stopping)

    def _holds(self, shard: str, ledger: Ledger) -> bool:
        """Whether the table, or the shard's own word, gives it anything."""
        report = self._reports.get(shard)
        believes = report is not None and bool(report.held) and not self._leases.given_up(shard)
        return believes or bool(ledger.table.grants(shard))

    def _publish(self, ledger: Ledger) -> bool:
        """Save and show the ledger; whether it differs from the last one."""
        if ledger == self._ledger:
            return False
        ledger = replace(ledger, table=replace(ledger.table, version=self.table.version + 1))
        self._memory.save(ledger)
        self._ledger = ledger
        self._changed.set()
        self._changed = asyncio.Event()
        return True


def _news(report: Report | None) -> object:
    """What of a report can change the table; positions alone do not."""
    news = (
        {p: (held.epoch, held.caught_up, held.behind) for p, held in report.held.items()}
        if report
        else None
    )
    return report and (news, report.failed)


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
