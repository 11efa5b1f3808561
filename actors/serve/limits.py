"""What a request may hold, with the checks that say which field breaks which rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from actors.clicks.formats import CEILING_MS, SECONDS_BELOW_MS
from actors.errors import InvalidRequest
from model.arrays import Keys

K_DEFAULT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The bounds of one request."""

    candidates_max: int = 2000
    id_bytes_max: int = 256
    deadline_default_s: float = 1.0
    future_tolerance_s: float = 86_400.0

    def check_user(self, user: str) -> None:
        """Refuse an empty or too long user id."""
        if not user:
            raise InvalidRequest(
                "user", f"user is empty; send an id of 1 to {self.id_bytes_max} bytes"
            )
        if (size := len(user.encode())) > self.id_bytes_max:
            raise InvalidRequest(
                "user", f"user is {size} bytes long; at most {self.id_bytes_max} are allowed"
            )

    def item_keys(self, items: Sequence[str]) -> Keys:
        """Item keys (M,) in the order of `items`; refuses none,
        too many, empty and too long ones.
        """
        if not 1 <= len(items) <= self.candidates_max:
            raise InvalidRequest(
                "items",
                (
                    f"{len(items)} items; send 1 to {self.candidates_max}, in several requests if "
                    "need be"
                ),
            )
        encoded = [item.encode() for item in items]
        sizes = [len(item) for item in encoded]
        if not 1 <= min(sizes) <= max(sizes) <= self.id_bytes_max:
            at = next(i for i, size in enumerate(sizes) if not 1 <= size <= self.id_bytes_max)
            raise InvalidRequest(
                f"items[{at}]",
                f"items[{at}] is {sizes[at]} bytes long; 1 to {self.id_bytes_max} are allowed",
            )
        return np.array([xxhash.xxh64_intdigest(item) for item in encoded], dtype=np.uint64)

    def time_ms(self, asked: int, now_ms: int) -> int:
        """For which time an answer is: what was asked for, now for 0;
        refuses what is no time in milliseconds.
        """
        if not asked:
            return now_ms
        latest_ms = min(CEILING_MS, now_ms + int(self.future_tolerance_s * 1000))
        if SECONDS_BELOW_MS <= asked <= latest_ms:
            return asked
        guess = "seconds" if 0 < asked < SECONDS_BELOW_MS else "microseconds or nanoseconds"
        hint = f"; is it in {guess}?" if 0 < asked < SECONDS_BELOW_MS or asked > CEILING_MS else "."
        raise InvalidRequest(
            "time_ms",
            f"time_ms is {asked}, not from 1973 to {latest_ms} (now + events.future_tolerance_s, "
            "at most year 2100)"
            f"{hint} Send milliseconds since 1970, or 0 for now",
        )

    def k(self, asked: int) -> int:
        """How many items to recommend: what was asked for, 10 for 0."""
        if not 0 <= asked <= self.candidates_max:
            raise InvalidRequest(
                "k", f"k is {asked}; ask for 1 to {self.candidates_max} items, or 0 for {K_DEFAULT}"
            )
        return asked or K_DEFAULT
