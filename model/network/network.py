"""The whole model over whole histories, in PyTorch: what training sees.

embedding -> spectral filter -> window attention -> GLU -> selective state space (+ echo) -> GLU =
sequence state; next-item logits from the sequence state and membership; click logits from the head.
Every part is causal: position t sees events 1..t only. `model.network.reference` is the same model
event by event, `model.kernels.fold` the compiled form of that.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.embedding import Embedding, Sequences, gap_bucket, gaps_of
from model.network.glu import GLU
from model.network.head import Evidence, RingAttention, count_bucket
from model.network.lowrank import LowRank
from model.network.membership import Membership
from model.network.spectral import SpectralFilter
from model.network.ssm import StateSpace
from model.network.window import WindowAttention


class Encoding(NamedTuple):
    """What `Network.encode` found out about B histories."""

    x: Tensor  # (B, L, D) inputs
    sequence: Tensor  # (B, L, D) sequence state after each event


class Network(nn.Module):
    """The trainable model for a catalogue of `items` = V items."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.embedding = Embedding(config, items)
        self.item_bias = nn.Parameter(torch.zeros(items + config.hashed_items))
        self.filter = SpectralFilter(config) if config.spectral_filter else None
        self.window = WindowAttention(config) if config.window_attention else None
        self.input_glu = GLU(config, dropout) if config.input_glu else None
        self.ssm = StateSpace(config)
        self.ssm_norm = nn.LayerNorm(config.width)
        self.output_glu = GLU(config, dropout)
        self.membership = Membership(config)
        self.lowrank = LowRank(config)
        self.ring = RingAttention(config)
        self.evidence = Evidence(config)
        self.dropout = nn.Dropout(dropout)

    def encode(self, batch: Sequences) -> Encoding:
        """Read whole histories."""
        gaps = gaps_of(batch, self.config.gap_buckets)
        x = self.embedding(batch.items, batch.actions, gaps)  # (B, L, D)
        vectors = self.embedding.item(batch.items)  # (B, L, D)
        front = self.dropout(x)
        if self.filter is not None:
            front = self.filter(front)
        if self.window is not None:
            front = self.window(front, self.dropout(vectors))
        if self.input_glu is not None:
            front = self.input_glu(front)
        sequence = self.output_glu(self.ssm_norm(front + self.dropout(self.ssm(front))))
        return Encoding(x, sequence)

    def next_item_logits(
        self, encoding: Encoding, batch: Sequences, *, exclude: bool = False
    ) -> Tensor:
        """Logits of every catalogue item after every event, (B, L, V);
        `exclude` rules out items already seen.
        """
        table = self.embedding.item.weight[: self.items]
        logits = encoding.sequence @ table.mT + self.item_bias[: self.items]  # (B, L, V)
        return self.membership.add_to(logits, batch.items, batch.mask, exclude=exclude)

    def head(
        self,
        encoding: Encoding,
        batch: Sequences,
        at: Tensor,
        candidates: Tensor,
        now_ms: Tensor,
        *,
        apart: bool = False,
    ) -> Tensor:
        """Click logits (B, Q, M) of candidates (B, Q, M) asked at now_ms (B, Q),
        after the events at `at` (B, Q).

        Where the head learns `apart`, no gradient reaches what the next-item logit is made of.
        """
        taken = Tensor.detach if apart else torch.as_tensor
        x = taken(encoding.x)  # (B, L, D)
        vectors = taken(self.embedding.item(candidates))  # (B, Q, M, D)
        user = taken(_take(encoding.sequence, at))  # (B, Q, D)
        ring, filled = self._ring(x, at)
        cache, mass = self.lowrank.caches_at(x, batch.times_ms, at)
        found = self.membership.find(batch.items, at, candidates)
        next_item = (vectors @ user[..., None]).squeeze(-1) + self.item_bias[candidates]
        next_item = taken(next_item + found.bias)  # (B, Q, M)
        logits: Tensor = self.evidence(
            vectors,
            user,
            self.ring(vectors, ring, filled),
            self.lowrank.read(cache, mass, vectors),
            next_item,
            found.age,
            found.often,
            gap_bucket(now_ms - batch.times_ms.gather(1, at), self.config.gap_buckets),
            count_bucket(at + 1 if batch.before is None else at + 1 + batch.before[:, :1]),
        )
        return logits

    def negativity(self, encoding: Encoding) -> Tensor:  # noqa: ARG002 - other forms of the term depend on the data
        """LREA's non-negativity terms, a scalar."""
        return self.lowrank.negativity()

    def _ring(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, Q, J, D) of the newest events up to each position,
        newest first, and which exist.
        """
        back = at[..., None] - torch.arange(self.config.attended, device=at.device)  # (B, Q, J)
        taken = _take(x, back.clamp(min=0).flatten(1)).unflatten(1, back.shape[1:])
        return taken, back >= 0


def _take(x: Tensor, at: Tensor) -> Tensor:
    """x (B, L, D) at positions (B, Q) to (B, Q, D)."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
