"""Whether shards crowd on a node while another one has room. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple


class Move(NamedTuple):
    """A shard, and the node where it should be instead."""

    shard: str
    node: str


def next_move(
    places: Mapping[str, str], movable: Collection[str], nodes: Collection[str]
) -> Move | None:
    """What evens the shards out by one; None while no node has two more than another.

    Args:
        places: the node of each shard. As long as one is on none of `nodes`, its node is dying, and
            nothing moves.
        movable: the shards that may be moved.
        nodes: those that may take shards.
    """
    if not nodes or not set(places.values()) <= set(nodes):
        return None
    counts = Counter(places.values())
    emptiest = min(nodes, key=lambda node: (counts[node], node))
    crowd = max((counts[places[shard]], shard) for shard in movable) if movable else (0, "")
    return Move(crowd[1], emptiest) if crowd[0] - counts[emptiest] > 1 else None
