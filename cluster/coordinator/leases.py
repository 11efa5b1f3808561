"""Who was heard of lately: leases by name, over a clock that is passed in."""

from __future__ import annotations

import logging
import math

from actors.clock import Clock

log = logging.getLogger(__name__)


class Leases:
    """A lease runs `lease_s` from the last word of its holder;
    `grace_s` later the holder is given up.

    Whoever has no lease counts as given up.
    """

    def __init__(self, clock: Clock, lease_s: float, grace_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._ends: dict[str, float] = {}
        self._looked = clock.monotonic()

    def renew(self, name: str) -> None:
        """The holder was heard of."""
        self._ends[name] = self._clock.monotonic() + self._lease_s

    def expect(self, name: str, within_s: float) -> None:
        """The holder is on its way, unless it has a lease already."""
        self._ends.setdefault(name, self._clock.monotonic() + within_s)

    def forget(self, name: str) -> None:
        """The holder will not be heard of again."""
        self._ends.pop(name, None)

    def runs(self, name: str) -> bool:
        """Whether the holder's lease has not ended."""
        return self._clock.monotonic() <= self._ends.get(name, -math.inf)

    def given_up(self, name: str) -> bool:
        """Whether the holder's grace is over, too."""
        return self._clock.monotonic() > self._ends.get(name, -math.inf) + self._grace_s

    def forgive_own_sleep(self) -> None:
        """Leases do not end by pauses of who grants them,
        for nobody could be heard meanwhile. Ask often.
        """
        now = self._clock.monotonic()
        slept_s = now - self._looked
        self._looked = now
        if slept_s > self._lease_s / 2:
            log.warning(
                "the coordinator stood still for %.2f s; all leases are that much longer", slept_s
            )
            self._ends = {name: ends + slept_s for name, ends in self._ends.items()}
