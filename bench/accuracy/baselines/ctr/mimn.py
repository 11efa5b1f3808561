"""A memory of fixed slots that each event erases and writes,
in the manner of MIMN (arXiv 1905.09248).

    w_t = softmax(x_t W_A),   M_i <- (1 - w_ti erase_t) M_i + w_ti v_t,
    erase_t = sigmoid(x_t W_E),   v_t = x_t W_V
    out = softmax(q W_Q M^T / sqrt(D)) M

The paper's memory is a neural Turing machine's: it addresses by similarity with what the slots
hold, erases by a vector, and adds a second, recurrent memory. Here events are addressed by learned
directions and a slot is erased as a whole, which makes the memory linear in its past, so that
training needs no loop over a thousand events. Left out: the recurrent induction unit, and the
regularisation of slot use. 16 slots, as many as the other compressions have.

Multiply-adds a candidate: 2 S D for S slots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.ctr.interest import FLOAT_BYTES, Asked, Interest

SLOTS = 16


class MemorySlots(Interest):
    """MIMN-style memory."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.address = nn.Linear(width, SLOTS)
        self.erase = nn.Linear(width, 1)
        self.value = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        nn.init.constant_(self.erase.bias, -2.0)  # forget slowly at first

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        memory = self.memory(asked)  # (B, Q, S, D)
        # (B, Q, 1, S)
        scores = self.query(asked.candidates)[:, :, None] @ memory.mT * self.width**-0.5
        return (scores.softmax(dim=-1) @ memory).squeeze(2)

    def memory(self, asked: Asked) -> Tensor:
        """What the slots hold after each history, (B, Q, S, D)."""
        weights = self.address(asked.x).softmax(dim=-1)  # (B, L, S)
        kept = (
            torch.log1p(-weights * self.erase(asked.x).sigmoid().clamp(max=0.999)).cumsum(dim=1).mT
        )  # (B, S, L)
        now = kept.gather(2, (asked.ends - 1)[:, None].expand(-1, SLOTS, -1)).mT  # (B, Q, S)
        left = (now[..., None] - kept[:, None]).clamp(max=0).exp()  # (B, Q, S, L)
        shares = left * weights.mT[:, None] * asked.inside()[:, :, None]
        return (shares.flatten(1, 2) @ self.value(asked.x)).unflatten(1, (-1, SLOTS))

    def multiply_adds(self, length: int) -> int:  # noqa: ARG002 - slots do not grow
        """2 S D."""
        return 2 * SLOTS * self.width

    def state_bytes(self) -> int | None:
        """The slots."""
        return FLOAT_BYTES * SLOTS * self.width
