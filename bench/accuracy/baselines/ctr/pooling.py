"""Mean of the history's inputs, of all of it or of the newest K events:
one vector a user, whoever is asked about.

Sum and count can be kept up to date in O(1), so nothing is left for the candidate: 0 multiply-adds.
The mean of the newest K is kept by the ring of K events.
"""

from __future__ import annotations

from torch import Tensor

from bench.accuracy.baselines.ctr.interest import FLOAT_BYTES, RING_EVENT_BYTES, Asked, Interest


class MeanPooling(Interest):
    """mean_t x_t over the history, or over its last `newest` events."""

    def __init__(self, width: int, newest: int | None = None) -> None:
        super().__init__()
        self.width = width
        self.newest = newest

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        taken = asked.inside()
        if self.newest is not None:
            taken = taken & (asked.ages() < self.newest)
        weights = taken.to(asked.x.dtype)
        return weights @ asked.x / weights.sum(dim=-1, keepdim=True)

    def multiply_adds(self, length: int) -> int:  # noqa: ARG002 - once a user
        """0."""
        return 0

    def state_bytes(self) -> int | None:
        """Sum and count, or the ring."""
        return (
            FLOAT_BYTES * (self.width + 1)
            if self.newest is None
            else RING_EVENT_BYTES * self.newest
        )
