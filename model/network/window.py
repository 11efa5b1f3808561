"""Attention over the last K events with the new event as the query:
a content-dependent filter beside the spectral one.

Keys and values are projections of item rows alone, so serving keeps ids and reads both from a
pre-stored table. Scores get a learned bias per head and age.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import ModelConfig


class WindowAttention(nn.Module):
    """Multi-head attention over the ring, residual, normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.window_heads
        self.ring_length = config.ring_length
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.age_bias = nn.Parameter(torch.zeros(config.window_heads, config.ring_length))
        self.norm = nn.LayerNorm(config.width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))  # (..., D) -> (..., h, D/h)

    def forward(self, x: Tensor, item_vectors: Tensor) -> Tensor:
        """Whole histories: x and the items' embeddings, both (B, L, D), to (B, L, D)."""
        length = x.shape[1]
        query, key, value = (
            self._split(t)
            for t in (self.query(x), self.key(item_vectors), self.value(item_vectors))
        )
        # (B, h, L, L)
        scores = torch.einsum("blhd,bmhd->bhlm", query, key) * query.shape[-1] ** -0.5
        positions = torch.arange(length, device=x.device)
        age = positions[:, None] - positions[None, :]  # (L, L)
        inside = (age >= 0) & (age < self.ring_length)
        scores = scores + self.age_bias[:, age.clamp(0, self.ring_length - 1)]
        weights = scores.masked_fill(~inside, float("-inf")).softmax(dim=-1)
        mixed = torch.einsum("bhlm,bmhd->blhd", weights, value).flatten(-2)  # (B, L, D)
        attended: Tensor = self.norm(x + self.out(mixed))
        return attended

    def step(self, x: Tensor, ring_vectors: Tensor, filled: Tensor) -> Tensor:
        """The newest event: x (B, D), ring embeddings (B, K, D) newest first,
        filled (B, K) bool, to (B, D).
        """
        query = self._split(self.query(x))  # (B, h, D/h)
        # (B, K, h, D/h)
        key = self._split(self.key(ring_vectors))
        value = self._split(self.value(ring_vectors))
        scores = torch.einsum("bhd,bkhd->bhk", query, key) * query.shape[-1] ** -0.5 + self.age_bias
        weights = scores.masked_fill(~filled[:, None], float("-inf")).softmax(dim=-1)  # (B, h, K)
        attended: Tensor = self.norm(
            x + self.out(torch.einsum("bhk,bkhd->bhd", weights, value).flatten(-2))
        )
        return attended
