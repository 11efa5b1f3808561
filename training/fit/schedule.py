"""The part of a recipe that holds for every network, and how far a training is by it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from training.workers import Workers

STEPS_SHARE_MIN = 0.5  # of the minutes, however long what follows the steps may take


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The part of a recipe that holds for every network.

    Raises:
        ValueError: a setting is out of range.
    """

    epochs: int = 30
    # the schedule then shrinks to fit, which makes results depend on the machine
    minutes_max: float | None = None
    patience: int = 5  # epochs without a better validation NDCG@10
    seed: int = 0
    length: int = 200  # L: a window holds at most L + 1 events
    tokens: int = 1024  # padded events a batch
    learning_rate: float = 6e-3
    warmup: float = 0.05  # share of the schedule
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 5.0  # largest gradient norm
    dropout: float = 0.2
    average_decay: float = 0.999  # of the exponential average of the weights; shorter at the start
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "patience", "length", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("dropout", "warmup", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be in [0, 1)")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be a number above 0")
        if self.minutes_max is not None and not self.minutes_max > 0:
            raise ValueError(
                f"minutes_max = {self.minutes_max} must be above 0; leave it out for no limit"
            )


class Schedule:
    """How far a training is: by its epochs,
    or by the clock where its share of `minutes_max` would run out first.
    """

    def __init__(self, settings: FitConfig, begun: float | None = None, share: float = 1.0) -> None:
        self.settings = settings
        self.share = share
        self.steps = 0
        self.done = 0.0
        self.started = time.monotonic() if begun is None else begun
        self.reserved_s = 0.0

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    def advance(self, done: float, workers: Workers | None = None) -> None:
        """One more step; by its epochs the training is `done`, 0 to 1.
        The first worker's clock holds for all.
        """
        self.steps += 1
        if (limit_s := self.limit_s()) is not None:
            spent = self.seconds() if workers is None else workers.first(self.seconds)
            done = min(1.0, max(done, self.done, spent / limit_s))
        self.done = done

    def limit_s(self) -> float | None:
        """When the last step must be done,
        so that `minutes_max` holds for what follows, too; None for no limit.
        """
        if self.settings.minutes_max is None:
            return None
        own_s = 60 * self.settings.minutes_max * self.share
        return max(own_s - self.reserved_s, own_s * STEPS_SHARE_MIN)

    def reserve(self, seconds: float) -> None:
        """So much time is needed after the last step."""
        self.reserved_s = seconds

    def pause(self, seconds: float) -> None:
        """So much was spent on other things: the clock went on, the schedule does not."""
        self.started += seconds

    def restore(self, steps: int, done: float, seconds: float) -> None:
        """Be where a schedule was after so many steps and seconds;
        the seconds since it stopped do not count.
        """
        self.steps = steps
        self.done = done
        self.started = time.monotonic() - seconds

    def rate(self) -> float:
        """Factor of the learning rate: linear warm-up from near 0 to 1,
        then half a cosine down to 0.
        """
        warmup = self.settings.warmup
        if self.done < warmup:
            return (self.done + 1e-3) / (warmup + 1e-3)
        return 0.5 * (1.0 + math.cos(math.pi * (self.done - warmup) / (1.0 - warmup)))

    def decay(self) -> float:
        """Of the weights' average: short at first, so that early weights are soon forgotten."""
        return min(self.settings.average_decay, (2.0 + self.steps) / (11.0 + self.steps))
