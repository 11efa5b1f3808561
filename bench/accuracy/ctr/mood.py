"""Slots for the candidate, and a term of the logit that is the user's alone.

Most of what a history adds is how much its user likes anything now. That orders users, not the
items of one user; as a feature beside the candidate's it makes the order within a user noisy. So
it is kept apart:

    logit = b_item + mlp([e, s, s * e]) + mood,   s = slots that never fade (x_1..x_n, e)
    mood  = linear(f) + mlp(f),   f = [mean_t p_t, sum_j a_j p_(n-j)],   p_t = W x_t

p_t are NUMBERS of an event, and their sum is all that the state keeps beside slots and ring; the
second mean is over the ring, a_j a softmax over its places. What mixes both questions, slots that
fade and ring attention, is left out. b_item starts from how often the item was liked
(`bench.accuracy.ctr.counts`), since what everybody likes is most of the order within a user.

Multiply-adds a candidate: 2 R D for the slots; there is no candidate in the mood, 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.ctr.interest import FLOAT_BYTES, RING_EVENT_BYTES, Asked
from bench.accuracy.ctr.slot_variants import SlotChange
from bench.accuracy.ctr.streaming import Streaming, taken
from model.config import ModelConfig

NUMBERS = 2
INNER = 16


class Apart(Streaming):
    """Undecayed slots, and the user's mood."""

    def __init__(self, config: ModelConfig, dropout: float = 0.1) -> None:
        super().__init__(config, ring="none", slots=SlotChange(fading="never"))
        self.project = nn.Linear(config.width, NUMBERS, bias=False)
        self.age = nn.Parameter(torch.zeros(config.attended))
        self.linear = nn.Linear(2 * NUMBERS, 1)
        self.inner = nn.Sequential(
            nn.Linear(2 * NUMBERS, INNER), nn.ReLU(), nn.Dropout(dropout), nn.Linear(INNER, 1)
        )

    def of_user(self, asked: Asked) -> Tensor:
        """(B, Q)."""
        numbers = self.project(asked.x)  # (B, L, NUMBERS)
        at = asked.ends - 1  # (B, Q)
        mean = taken(numbers.cumsum(dim=1), at) / asked.ends[..., None]  # (B, Q, NUMBERS)
        back = at[..., None] - torch.arange(len(self.age), device=at.device)  # (B, Q, J)
        kept = taken(numbers, back.clamp(min=0).flatten(1)).unflatten(1, back.shape[1:])
        share = self.age.expand(back.shape).masked_fill(back < asked.begins[..., None], -1e9)
        recent = (share.softmax(dim=-1)[..., None] * kept).sum(dim=2)  # (B, Q, NUMBERS)
        seen = torch.cat([mean, recent], dim=-1)
        mood: Tensor = self.linear(seen) + self.inner(seen)  # (B, Q, 1)
        return mood.squeeze(-1)

    def state_bytes(self) -> int | None:
        """Slots, ring and the numbers' sums."""
        slots = super().state_bytes() or 0
        return slots + RING_EVENT_BYTES * self.config.attended + FLOAT_BYTES * NUMBERS
