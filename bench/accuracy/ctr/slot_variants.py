"""The low-rank slots with one thing changed, for the click-through study: what each choice earns.

The slots themselves: `model.network.lowrank`.

fading   "time": each slot forgets by event time, at its own rate (the product's);
"events": by the number of events instead, a position's weight that shifts with each click;
"never": plain sums
content  False: each event enters every slot alike, so that slots differ by their time scales alone
phi      leaky ReLU (the product's), "relu", or "linear"
mixing   False: the non-negative mixing, LREA's decompression, is left out
penalty  False: nothing keeps it from becoming negative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.lowrank import SLOWEST_S, LowRank
from model.params import EPSILON, SLOPE

EVENTS_MAX = 1000.0  # the slowest slot's time scale, in events
Phi = Literal["leaky", "relu", "linear"]
SLOPES: dict[Phi, float] = {"leaky": SLOPE, "relu": 0.0, "linear": 1.0}


@dataclass(frozen=True, kw_only=True)
class SlotChange:
    """What differs from the product's slots."""

    fading: Literal["time", "events", "never"] = "time"
    content: bool = True
    phi: Phi = "leaky"
    mixing: bool = True
    penalty: bool = True


class ChangedSlots(LowRank):
    """`model.network.lowrank.LowRank` with a change."""

    def __init__(self, config: ModelConfig, change: SlotChange) -> None:
        super().__init__(config)
        self.change = change
        self.assign.requires_grad_(change.content)  # what is not used does not learn
        self.log_rate.requires_grad_(change.fading != "never")
        self.mixing.requires_grad_(change.mixing)

    def weights(self, x: Tensor) -> Tensor:
        """See `LowRank.weights`; 1 for every slot without content."""
        return (
            super().weights(x)
            if self.change.content
            else x.new_ones(*x.shape[:-1], len(self.log_rate))
        )

    def fade(self, elapsed_ms: Tensor) -> Tensor:
        """See `LowRank.fade`."""
        faded = super().fade(elapsed_ms)
        return torch.ones_like(faded) if self.change.fading == "never" else faded

    def caches_at(self, x: Tensor, times_ms: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """See `LowRank.caches_at`."""
        if self.change.fading == "events":
            step_ms = SLOWEST_S / EVENTS_MAX * 1000
            times_ms = (torch.arange(x.shape[1], device=x.device) * step_ms).expand_as(times_ms)
        return super().caches_at(x, times_ms, at)

    def read(self, cache: Tensor, mass: Tensor, vectors: Tensor) -> Tensor:
        """See `LowRank.read`."""
        slope = SLOPES[self.change.phi]
        mean = cache / (mass + EPSILON)[..., None]
        key, value = (
            torch.nn.functional.leaky_relu(part(mean), slope) for part in (self.key, self.value)
        )  # (..., R, D)
        scores = self.query(vectors) @ key.mT * vectors.shape[-1] ** -0.5  # (..., M, R)
        scores = scores @ self.mixing if self.change.mixing else scores
        weights = (scores + (mass + EPSILON).log()[..., None, :]).softmax(dim=-1)
        return weights @ value

    def negativity(self) -> Tensor:
        """See `LowRank.negativity`."""
        return (
            super().negativity() if self.change.penalty and self.change.mixing else torch.zeros(())
        )
