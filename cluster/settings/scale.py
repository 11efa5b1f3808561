"""How long and how large things are that no setting names."""

from __future__ import annotations

from dataclasses import dataclass

from actors.state.image import PIECE_ROWS
from actors.state.store import SLICE_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """As a system has them; in a simulation they are smaller."""

    registration_s: float = 120.0  # until a shard that starts has registered: the first compiles
    commit_interval_s: float = 5.0
    long_call_s: float = 600.0  # a large partition is written, a long archive read and rewritten
    # an arm further behind the most advanced one is fed apart from it
    arms_apart_records: int = 1000
    slice_events: int = SLICE_EVENTS  # folded under a store's lock at a time
    piece_rows: int = PIECE_ROWS  # copied under it at a time


FULL = Scale()
