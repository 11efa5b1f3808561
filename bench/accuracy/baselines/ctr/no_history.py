"""No history at all: the candidate's item is all that is known.
The floor of the comparison; 0 multiply-adds.
"""

from __future__ import annotations

from torch import Tensor

from bench.accuracy.baselines.ctr.interest import Asked, Interest


class NoHistory(Interest):
    """No interest vector."""

    pieces = 0

    def forward(self, asked: Asked) -> Tensor:
        """Nothing: (B, Q, 0)."""
        return asked.candidates[..., :0]

    def multiply_adds(self, length: int) -> int:  # noqa: ARG002 - no history
        """0."""
        return 0

    def state_bytes(self) -> int | None:
        """0."""
        return 0
