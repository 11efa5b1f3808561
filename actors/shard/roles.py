"""What a shard holds of a partition and in which role, and what its coordinator grants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """The owner takes snapshots and its answers count;
    a standby folds the same log, so that it can take over.
    """

    OWNER = "owner"
    STANDBY = "standby"


class Feed(StrEnum):
    """Which arms of a partition a reader feeds.

    The front are those about as far as the most advanced one, fed together; who is further behind
    is fed apart.
    """

    FRONT = "front"
    BEHIND = "behind"


class Grant(NamedTuple):
    """A partition in one role, under one epoch; a newer grant has a higher epoch."""

    epoch: int
    role: Role = Role.OWNER


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport:
    """A restored partition of a shard, as its heartbeat reports it."""

    epoch: int
    role: Role
    position: int  # the next offset to apply: the least of the arms that take traffic
    caught_up: bool  # these arms have come close to the end of the log since the shard has it
    behind: bool = False  # an arm, with traffic or without, is fed apart from the front


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One heartbeat: what a shard's process holds."""

    incarnation: int  # as the coordinator gave it to this process
    held: Mapping[int, PartitionReport] = field(default_factory=dict)
    # given up because folding failed: the epoch it had
    failed: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The answer to a heartbeat: all that the shard is to hold,
    and for how long it may count on it.
    """

    lease_s: float  # from the moment at which the heartbeat was sent
    grants: Mapping[int, Grant]


class Steps(NamedTuple):
    """What a shard does to get from what it holds to what it is granted."""

    release: list[int]
    renew: dict[int, Grant]
    hold: dict[int, Grant]


def steps(held: Mapping[int, Grant], granted: Mapping[int, Grant]) -> Steps:
    """Release what is not granted,
    renew what is granted under a newer epoch, hold what is not held yet.
    """
    return Steps(
        release=[partition for partition in held if partition not in granted],
        renew={
            p: grant for p, grant in granted.items() if p in held and grant.epoch > held[p].epoch
        },
        hold={p: grant for p, grant in granted.items() if p not in held},
    )
