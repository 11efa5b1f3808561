"""The names of the files below `state.directory`, and the order that they stand for.

    ROOT/partition-00003/EPOCH-POSITION-ARM-CHECKSUM.arrow   rows of one arm: all of them, or those
                                                             that changed
    ROOT/partition-00003/EPOCH-POSITION.manifest.json        written last; names a complete set of
                                                             the above
    ROOT/partition-00003/tombstone-USER-OFFSET.json          an erased user; see
                                                             `actors.snapshots.tombstone_files`

Newer is what has the larger (epoch, position): no clock and no time of modification decides
anything.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

MANIFEST_END = ".manifest.json"
STATES_END = ".arrow"
TEMPORARY_END = ".tmp"
STATES = re.compile(r"\d{12}-\d{19}-(?P<arm>.*?)(-[0-9a-f]{16}\.arrow|\.tmp)")
NAME = re.compile(r"(?P<epoch>\d{12})-(?P<position>\d{19})[-.].*")


class Order(NamedTuple):
    """What decides which snapshot is newer."""

    epoch: int
    position: int


def directory(root: str, partition: int) -> str:
    """Where everything of a partition is."""
    return f"{root}/partition-{partition:05d}"


def manifest(order: Order) -> str:
    """The name of the manifest; as long as it does not exist, the snapshot does not."""
    return f"{_stem(order)}{MANIFEST_END}"


def unfinished_states(order: Order, arm: str) -> str:
    """The name of a state file that is being written."""
    return f"{_stem(order)}-{quote(arm, safe='')}{TEMPORARY_END}"


def states(order: Order, arm: str, checksum: str) -> str:
    """The name of a complete state file; other content has another name."""
    return f"{_stem(order)}-{quote(arm, safe='')}-{checksum}{STATES_END}"


def order(name: str) -> Order | None:
    """The order of a file of a snapshot, finished or not; None for all other files."""
    parts = NAME.fullmatch(name)
    return Order(int(parts["epoch"]), int(parts["position"])) if parts else None


def arm(name: str) -> str | None:
    """The arm whose rows a file has, finished or not; None for all other files."""
    parts = STATES.fullmatch(name)
    return unquote(parts["arm"]) if parts else None


def _stem(at: Order) -> str:
    return f"{at.epoch:012d}-{at.position:019d}"
