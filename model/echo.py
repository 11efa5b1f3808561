"""The reverse direction of a bidirectional state space, streamed exactly ("pooled echo").

A reverse scan over the prefix 1..n, g_t = a_{t+1} g_{t+1} + u_t with g_n = u_n, changes at every position when an event
arrives, so it cannot be kept. Its discounted sum S_n = sum_t gamma^(n-t) g_t can:

    Q_n = 1 + gamma a_n Q_{n-1},    S_n = gamma S_{n-1} + Q_n u_n

because u_n reaches position t with the weight a_{t+1} ... a_n, and Q_n = sum_t gamma^(n-t) a_{t+1} ... a_n sums those
weights. S is read out by C_n, and scaled by 1 - gamma so that its size does not depend on gamma.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.scan import scan_scalar


class Echo(nn.Module):
    """One discount gamma and one gain a head; needs the scalar transition."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.raw_gamma = nn.Parameter(torch.full((config.heads,), 2.0))  # gamma = sigmoid(2) = .88
        self.gain = nn.Parameter(torch.full((config.heads,), 0.1))

    def gamma(self) -> Tensor:
        """The discount of each head, (H), in (0, 1)."""
        return self.raw_gamma.sigmoid()

    def weights(self) -> Tensor:
        """What multiplies C . S at read-out, (H)."""
        return self.gain * (1 - self.gamma())

    def looks(self, log_a: Tensor) -> Tensor:
        """Q of every position: (B, L, H) log decays to (B, L, H)."""
        gamma, q, every = self.gamma(), torch.zeros_like(log_a[:, 0]), []
        for decay in log_a.exp().unbind(dim=1):
            q = 1 + gamma * decay * q
            every.append(q)
        return torch.stack(every, dim=1)

    def forward(self, u: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Whole histories, shapes as in `model.scan`: what the echo adds to y, (B, L, H, P)."""
        discount = self.gamma().log().expand_as(log_a)
        shown = scan_scalar(u * self.looks(log_a)[..., None], discount, b, c)
        return self.weights()[:, None] * shown

    def step(
        self, u: Tensor, decay: Tensor, b: Tensor, c: Tensor, q: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One event: u (B, H, P), decay (B, H), b and c (B, N), Q (B, H), S (B, H, P, N) to (shown, Q, S)."""
        gamma = self.gamma()
        q = 1 + gamma * decay * q
        s = gamma[:, None, None] * s + (q[..., None] * u)[..., None] * b[:, None, None]
        return self.weights()[:, None] * (s * c[:, None, None]).sum(dim=-1), q, s


def reverse_scan_pooled(u: Tensor, decay: Tensor, gamma: float) -> Tensor:
    """S_n by brute force: the reverse scan over the whole prefix, then its discounted sum. u (L, ...), decay (L)."""
    last = u.shape[0] - 1
    g, total = u[last], u[last]
    for t in range(last - 1, -1, -1):
        g = decay[t + 1] * g + u[t]
        total = total + gamma ** (last - t) * g
    return total
