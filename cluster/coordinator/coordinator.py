"""The one who says which shard holds which partition, in which role, and under which epoch.

A state machine without threads or files of its own: time is a clock that is passed in, and whoever
drives it calls `tick` a few times a lease. Nobody waits in it but who asks for the next table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol

from actors.clock import Clock
from actors.errors import InvalidRequest, NotOwner
from actors.serve.traffic import Arm
from actors.shard.roles import Assignment, Report
from cluster.coordinator.knowledge import Knowledge
from cluster.coordinator.ledger import Ledger, Member, first_ledger
from cluster.coordinator.planner import Planner
from cluster.coordinator.routing import RoutingTable
from cluster.coordinator.settings import CoordinatorSettings
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
        self._known = Knowledge(clock, settings)
        self._planner = Planner(self._known, settings)
        for member in self._ledger.members:
            self._known.leases.expect(
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
        self._known.begin(shard)
        ledger = self._ledger.with_member(replace(came, moves_to=moves_to)).with_target(target)
        self._publish(self._step(replace(ledger, incarnations=incarnation)))
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
        self._known.hear(shard, report)
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
        known = self._known.so_far(self._ledger)
        if known == self._settled:
            return
        if not self._publish(self._step(self._ledger)):
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
        if not self._planner.another_may_hold(member, self._ledger):
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
            m.name
            for m in ledger.members
            if not m.draining and self._planner.another_may_hold(m, ledger)
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
        off = self._planner.unsettled(self._ledger)
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
        self._known.leases.expect(member.name, self._settings.start_s)
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
        self._known.forget(shard.name)

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

    def _step(self, ledger: Ledger) -> Ledger:
        return self._planner.step(ledger, self._memory.first_epoch)

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
