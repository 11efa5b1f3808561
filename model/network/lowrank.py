"""Low-rank attention over the whole history,
as R slots that each event adds to (LREA, arXiv 2503.02542, streamed).

LREA compresses a history X (L, D) to W_comp^T X by weights indexed by position, so each click would
move every position. Here an event's weights come from its content and fade with event time, so a
click touches the cache once:

    w_t = softmax(x_t W_s),   C <- exp(-rate * elapsed) C + w_t (outer) x_t,
    z <- exp(-rate * elapsed) z + w_t

Each slot has its own rate; log-spaced rates together imitate a power law. At read time, with c = C
/ (z + EPSILON):

    K' = phi(c W_K),  V' = phi(c W_V),  out = softmax(q K'^T M / sqrt(D) + log(z + EPSILON)) V'

phi is leaky ReLU; M (R, R) plays the part of LREA's decompression and is kept non-negative by
`negativity`, so that phi commutes with the mixing and the attention keeps its meaning. log z counts
how much of the history a slot stands for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from model.config import ModelConfig
from model.params import EPSILON, SLOPE

FASTEST_S = 600.0
SLOWEST_S = 3.0e7


class LowRank(nn.Module):
    """Writing to and reading from the slots."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.assign = nn.Linear(config.width, config.slots)
        spread = torch.linspace(math.log(FASTEST_S), math.log(SLOWEST_S), config.slots)
        self.log_rate = nn.Parameter(-spread)  # (R), per second
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.mixing = nn.Parameter(torch.eye(config.slots) + 0.01)

    def weights(self, x: Tensor) -> Tensor:
        """Slot weights of events: (..., D) to (..., R), each row sums to 1."""
        return self.assign(x).softmax(dim=-1)

    def fade(self, elapsed_ms: Tensor) -> Tensor:
        """What is left of each slot: (...) times passed to (..., R)."""
        return torch.exp(
            -self.log_rate.exp() * (elapsed_ms.to(self.log_rate.dtype) / 1000)[..., None]
        )

    def caches_at(self, x: Tensor, times_ms: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Slots after the events at the positions `at` (B, Q): C (B, Q, R,
        D) and z (B, Q, R), from whole histories.
        """
        now = times_ms.gather(1, at)  # (B, Q)
        fade = self.fade((now[:, :, None] - times_ms[:, None, :]).clamp(min=0))  # (B, Q, L, R)
        positions = torch.arange(x.shape[1], device=x.device)
        past = (positions <= at[:, :, None])[..., None]  # (B, Q, L, 1)
        weights = fade * self.weights(x)[:, None] * past  # (B, Q, L, R)
        return torch.einsum("bqlr,bld->bqrd", weights, x), weights.sum(dim=2)

    def step(
        self, x: Tensor, elapsed_ms: Tensor, cache: Tensor, mass: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One event: x (B, D), elapsed (B), C (B, R, D) and z (B, R) to the new C and z."""
        # (B, R)
        fade = self.fade(elapsed_ms)
        weights = self.weights(x)
        return fade[..., None] * cache + weights[..., None] * x[:, None], fade * mass + weights

    def read(self, cache: Tensor, mass: Tensor, vectors: Tensor) -> Tensor:
        """Attention of candidates (..., M, D) over slots C (..., R,
        D), z (..., R) to (..., M, D).
        """
        mean = cache / (mass + EPSILON)[..., None]
        # (..., R, D)
        key = leaky_relu(self.key(mean), SLOPE)
        value = leaky_relu(self.value(mean), SLOPE)
        # (..., M, R)
        scores = self.query(vectors) @ key.mT @ self.mixing * vectors.shape[-1] ** -0.5
        weights = (scores + (mass + EPSILON).log()[..., None, :]).softmax(dim=-1)
        return weights @ value

    def negativity(self) -> Tensor:
        """LREA's non-negativity term for the mixing: mean of relu(-M),
        0 once M has no negative entry.
        """
        return torch.relu(-self.mixing).mean()
