"""All that a coordinator must remember to go on after its own death, as one immutable value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from actors.errors import ConfigError, OtherRun, UnknownShard
from actors.serve.buckets import Runs, expanded, first_buckets, next_buckets
from actors.serve.traffic import Arm
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.names import shard_name
from monitoring.discovery import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A shard of the deployment. `address` is empty until its process
    has registered in this run.
    """

    number: int
    address: str = ""
    node: str = (
        ""  # where its newest process runs, or where its actor is to be started; empty: anywhere
    )
    incarnation: int = 0  # of its newest process; no two processes of the deployment share one
    spawned: bool = True  # its actor was started; it may still be on its way
    draining: bool = False  # asked to be emptied, until its process starts anew
    moves_to: str = ""  # the node on which its actor is to be started anew as soon as it is empty
    stopping: bool = False  # holds nothing any more, and its actor is to be stopped

    @property
    def name(self) -> str:
        """The shard's name."""
        return shard_name(self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The deployment's shards, the published table,
    and the newest epoch given out for each partition.
    """

    run: str
    shards_wanted: int
    members: tuple[Member, ...]  # by number
    incarnations: int  # given out so far
    issued: tuple[int, ...]  # by partition
    table: RoutingTable

    def member(self, shard: str) -> Member:
        """A shard by its name; UnknownShard if the deployment has none of that name."""
        for member in self.members:
            if member.name == shard:
                return member
        known = ", ".join(member.name for member in self.members)
        raise UnknownShard(f"shard {shard!r} is not part of this deployment, which has {known}")

    def with_member(self, changed: Member) -> Ledger:
        """This with one member added, or changed."""
        others = [member for member in self.members if member.number != changed.number]
        return replace(
            self, members=tuple(sorted((*others, changed), key=lambda member: member.number))
        )

    def without_member(self, number: int) -> Ledger:
        """This without one member and its metrics."""
        return replace(
            self,
            members=tuple(member for member in self.members if member.number != number),
            table=replace(
                self.table,
                targets=tuple(
                    each for each in self.table.targets if each.name != shard_name(number)
                ),
            ),
        )

    def with_target(self, target: Target) -> Ledger:
        """This with a process's metrics, instead of its predecessor's."""
        others = (other for other in self.table.targets if other.name != target.name)
        targets = tuple(sorted((*others, target), key=lambda each: each.name))
        return replace(self, table=replace(self.table, targets=targets))

    def with_routes(self, routes: list[Route]) -> Ledger:
        """This with other routes."""
        return replace(self, table=replace(self.table, routes=tuple(routes)))

    def to_values(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Ledger:
        """What `to_values` gave; KeyError, TypeError or ValueError for anything else."""
        table = values["table"]
        return cls(
            run=values["run"],
            shards_wanted=values["shards_wanted"],
            members=tuple(Member(**member) for member in values["members"]),
            incarnations=values["incarnations"],
            issued=tuple(values["issued"]),
            table=RoutingTable(
                version=table["version"],
                routes=tuple(_route(route) for route in table["routes"]),
                arms=tuple(Arm(**arm) for arm in table["arms"]),
                buckets=_buckets(table),
                targets=tuple(Target(**target) for target in table["targets"]),
            ),
        )


def first_ledger(
    saved: Ledger | None,
    *,
    run: str,
    restarted: bool,
    partitions: int,
    shards: int,
    arms: tuple[Arm, ...],
) -> Ledger:
    """What a coordinator begins with: what was saved in the same run,
    else every partition at its home.

    Epochs and incarnations of earlier runs stay used up, and users keep their arms as far as the
    weights allow.

    Raises:
        ConfigError: what was saved is for another number of partitions.
        OtherRun: a coordinator that was `restarted` finds what another run saved.
    """
    if saved and restarted and saved.run != run:
        raise OtherRun(
            f"another coordinator took over state.directory: it is of run {saved.run}, this one "
            f"was restarted in run {run} and ends. Two systems must not share a state.directory: "
            "stop one of them, or give it a directory of its own"
        )
    if saved and saved.table.partitions != partitions:
        raise ConfigError(
            f"topics.partitions is {partitions}, but the states in state.directory are of "
            f"{saved.table.partitions} partitions and users would land elsewhere; set it back, or "
            "start with an empty state.directory"
        )
    version = saved.table.version + 1 if saved else 1
    if saved and saved.run == run:
        return replace(saved, table=replace(saved.table, version=version))
    issued = saved.issued if saved else (0,) * partitions
    routes = (
        Route(owner=Replica(shard=shard_name(p % shards), epoch=epoch))
        for p, epoch in enumerate(issued)
    )
    return Ledger(
        run=run,
        shards_wanted=shards,
        members=tuple(Member(number=number) for number in range(shards)),
        incarnations=saved.incarnations if saved else 0,
        issued=issued,
        table=RoutingTable(
            version=version,
            routes=tuple(routes),
            arms=arms,
            buckets=next_buckets(saved.table.buckets if saved else (), arms),
        ),
    )


def _buckets(table: dict[str, Any]) -> Runs:
    """Which arm has which users; where that was not kept yet,
    as it was made from the weights of the time.
    """
    if "buckets" not in table:
        return first_buckets(Arm(**arm) for arm in table["arms"])
    kept = tuple((str(name), int(count)) for name, count in table["buckets"])
    expanded(kept)
    return kept


def _route(values: dict[str, Any]) -> Route:
    standby = values["standby"]
    return Route(owner=Replica(**values["owner"]), standby=Replica(**standby) if standby else None)
