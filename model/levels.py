"""How complete an answer is. Each bundle records the most complete level that was better than less:
what is asked for above it is answered at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

RECORD = "levels"  # its name in a bundle's config.json


class Level(IntEnum):
    """How complete an answer is; the numbers are those of the wire protocol."""

    FULL = 1
    SEQUENCE = 2
    PRIOR = 3


BEST = (Level.FULL, Level.SEQUENCE)  # what may be the best of a bundle


def best_of(record: Mapping[str, Any]) -> Level:
    """The most complete level that a bundle's record lets it answer at;
    FULL where there is none, as in older bundles.

    Raises:
        ValueError: the record names no level that can be a bundle's best.
    """
    name = record.get("best", Level.FULL.name)
    known = {level.name: level for level in BEST}
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"{RECORD}.best is {str(name)[:40]!r}; this version knows {', '.join(known)}"
        )
    return known[name]
