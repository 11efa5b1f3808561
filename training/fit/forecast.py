"""How long a training will take, from a few of its steps: said at its start,
and reserved from its minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

STEPS = 8  # measured after the first one, which warms up
MINUTE_S = 60

# seconds of what follows a training whose validation takes so many
Finishing = Callable[[nn.Module, float], float]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What takes time beside the steps."""

    # of time.monotonic(), when the clock of minutes_max began; None: with the first step
    begun: float | None = None
    # measures about how many seconds a validation takes
    validation: Callable[[nn.Module], float] = lambda _: 0.0
    finishing: Finishing = lambda *_: 0.0
    share: float = 1.0  # of minutes_max; the rest is for another training


class Forecast:
    """Collects the durations of steps until there are enough of them, once."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def add(self, seconds: float) -> bool:
        """A step took so long; whether now is the moment to say how long all will take."""
        if len(self._seconds) > STEPS:
            return False
        self._seconds.append(seconds)
        return len(self._seconds) > STEPS

    def step_s(self) -> float:
        """The mean of the steps after the first."""
        return sum(self._seconds[1:]) / STEPS


def sentence(
    *,
    spent_s: float,
    epoch_s: float,
    done: float,
    epochs: int,
    finishing_s: float,
    minutes: float | None,
    limit_s: float | None,
) -> str:
    """`about 12 minutes for 30 epochs at most;
    --minutes 5 allows about 11 of them`, when `done` epochs are over.

    With `minutes` the steps end after `limit_s` seconds.
    """
    said = (
        f"about {_duration(spent_s + epoch_s * (epochs - done) + finishing_s)} for {epochs} "
        "epochs at most"
    )
    if minutes is None or limit_s is None:
        return said
    allowed = done + max(0.0, limit_s - spent_s) / epoch_s
    return f"{said}; --minutes {minutes:.3g} allows about {min(allowed, epochs):.2g} of them"


def _duration(seconds: float) -> str:
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} seconds"
    minutes = seconds / MINUTE_S
    return f"{minutes:.0f} minutes" if minutes < 2 * MINUTE_S else f"{minutes / MINUTE_S:.1f} hours"
