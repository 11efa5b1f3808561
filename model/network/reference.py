"""The fold in plain PyTorch, one event at a time for B users side by side:
slow, and the definition of right.

`step` follows the equations of each part's `step`; `model.kernels.fold` must agree with it, and it
with `model.network.network`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.embedding import gap_bucket
from model.network.network import Network
from model.network.ssm import StateSpaceState


class ReferenceState(NamedTuple):
    """Everything remembered of B users, in float32."""

    x: Tensor  # (B, K, D) the last inputs, newest first, zero where empty
    vectors: Tensor  # (B, K, D) the last items' embeddings, newest first
    filled: Tensor  # (B, K) bool
    ssm: StateSpaceState
    cache: Tensor  # (B, R, D)
    mass: Tensor  # (B, R)
    last_ms: Tensor  # (B) int64
    events: Tensor  # (B) int64

    @classmethod
    def zeros(cls, config: ModelConfig, users: int) -> ReferenceState:
        """States of users without events."""
        K = config.ring_length
        D = config.width
        R = config.slots
        return cls(
            torch.zeros(users, K, D),
            torch.zeros(users, K, D),
            torch.zeros(users, K, dtype=torch.bool),
            StateSpaceState.zeros(config, users),
            torch.zeros(users, R, D),
            torch.zeros(users, R),
            torch.zeros(users, dtype=torch.int64),
            torch.zeros(users, dtype=torch.int64),
        )


def step(
    network: Network, state: ReferenceState, items: Tensor, actions: Tensor, times_ms: Tensor
) -> tuple[Tensor, ReferenceState]:
    """Fold one event for each of B users; returns the sequence state (B,
    D) and the state after the event.
    """
    config = network.config
    first = state.events == 0
    elapsed = torch.where(first, 0, times_ms - state.last_ms).clamp(min=0)
    gaps = gap_bucket(elapsed, config.gap_buckets).masked_fill(first, config.gap_buckets - 1)
    x = network.embedding(items, actions, gaps)  # (B, D)

    ring_x = _push(state.x, x)
    ring_vectors = _push(state.vectors, network.embedding.item(items))
    filled = _push(state.filled, torch.ones_like(first))

    front = network.filter.step(ring_x) if network.filter is not None else x
    if network.window is not None:
        front = network.window.step(front, ring_vectors, filled)
    if network.input_glu is not None:
        front = network.input_glu(front)
    shown, ssm = network.ssm.step(front, state.ssm)
    sequence = network.output_glu(network.ssm_norm(front + shown))
    cache, mass = network.lowrank.step(x, elapsed, state.cache, state.mass)
    last_ms = torch.maximum(state.last_ms, times_ms)
    return sequence, ReferenceState(
        ring_x, ring_vectors, filled, ssm, cache, mass, last_ms, state.events + 1
    )


def _push(ring: Tensor, newest: Tensor) -> Tensor:
    """Put (B, ...) in front of (B, K, ...) and drop the oldest."""
    return torch.cat([newest[:, None], ring[:, :-1]], dim=1)
