"""The product's own interest: low-rank slots over everything,
exact attention over the ring, and what a user costs.

Slots and ring attention are `model.network.lowrank` and `model.network.head`, the modules that
ship, so what is measured is what serves. The slots read the row from its first event: a streaming
state has no window, so up to `ctr_data.SPAN_MAX` events beyond the other methods' `length` may
still be in it.

Multiply-adds a candidate: its query is stored; keys, values and the mixing are formed once a
request, so 2 R D for the slots and 2 J D for the ring's J newest events; the sequence state is the
user's alone, 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.ctr.interest import FLOAT_BYTES, RING_EVENT_BYTES, Asked, Interest
from bench.accuracy.ctr.slot_variants import ChangedSlots, SlotChange
from model.config import ModelConfig
from model.network.head import RingAttention
from model.network.lowrank import LowRank
from model.network.ssm import StateSpace

Ring = Literal["inputs", "items", "none"]


class Streaming(Interest):
    """Slots, ring and sequence state; each but the slots can be left out.

    Args:
        config: sizes; `slots` and `head_ring` decide the cost.
        ring: "inputs" attends over item, action and gap together as the product does, "items" over
            items alone.
        sequence: adds the state space's output after the newest event.
        slots: what differs from the product's slots, for studies.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        ring: Ring = "inputs",
        sequence: bool = False,
        slots: SlotChange | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.of_ring = ring
        self.lowrank = LowRank(config) if slots is None else ChangedSlots(config, slots)
        self.ring = RingAttention(config) if ring != "none" else None
        self.ssm = StateSpace(config) if sequence else None
        self.norm = nn.LayerNorm(config.width) if sequence else None
        self.pieces = 1 + (self.ring is not None) + (self.ssm is not None)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, pieces * D): slots, ring, sequence."""
        at = asked.ends - 1  # (B, Q) newest event of each history
        one = asked.candidates[:, :, None]  # (B, Q, 1, D): a candidate for each state
        cache, mass = self.lowrank.caches_at(asked.x, asked.times_ms, at)
        found = [self.lowrank.read(cache, mass, one).squeeze(2)]
        if self.ring is not None:
            source = asked.vectors if self.of_ring == "items" else asked.x
            back = at[..., None] - torch.arange(self.config.attended, device=at.device)  # (B, Q, J)
            filled = back >= asked.begins[..., None]
            # (B, Q, K, D)
            kept = taken(source, back.clamp(min=0).flatten(1)).unflatten(1, back.shape[1:])
            found.append(self.ring(one, kept, filled).squeeze(2))
        if self.ssm is not None and self.norm is not None:
            found.append(taken(self.norm(asked.x + self.ssm(asked.x)), at))
        return torch.cat(found, dim=-1)

    def penalty(self) -> Tensor:
        """LREA's non-negativity term."""
        return self.lowrank.negativity()

    def multiply_adds(self, length: int) -> int:
        """2 (R + J) D."""
        ring = min(self.config.attended, length) if self.ring is not None else 0
        return 2 * (self.config.slots + ring) * self.config.width

    def state_bytes(self) -> int | None:
        """Slots with masses, ring, state space with its convolution tail."""
        config = self.config
        floats = config.slots * (config.width + 1)
        if self.ssm is not None:
            floats += config.inner * config.state_size
            floats += (config.conv_width - 1) * (config.inner + 2 * config.state_size)
        return FLOAT_BYTES * floats + (
            RING_EVENT_BYTES * config.attended if self.ring is not None else 0
        )


def taken(x: Tensor, at: Tensor) -> Tensor:
    """x (B, L, D) at positions (B, N) to (B, N, D)."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
