"""Elements that the product had and dropped, since they earned nothing: the echo,
and decays of their own a channel.

Here they can still be trained and ranked as trained. What they cost as states is what the product's
own took when it had them: `bench/results/ablations.md` keeps those rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from model.config import ModelConfig
from model.network.network import Network
from model.network.scan import recurrence, scan
from model.network.ssm import Drive, StateSpace


class Echo(nn.Module):
    """The reverse direction of a bidirectional state space as it can be streamed ("pooled echo").

    A reverse scan over the prefix 1..n, g_t = a_{t+1} g_{t+1} + u_t with g_n = u_n, changes at
    every position when an event arrives, so it cannot be kept. Its discounted sum S_n = sum_t
    gamma^(n-t) g_t can:

        Q_n = 1 + gamma a_n Q_{n-1},    S_n = gamma S_{n-1} + Q_n u_n

    because u_n reaches position t with the weight a_{t+1} ... a_n, and Q_n = sum_t gamma^(n-t)
    a_{t+1} ... a_n sums those weights. S is read out by C_n, and scaled by 1 - gamma so that its
    size does not depend on gamma. One gamma and one gain a head.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.raw_gamma = nn.Parameter(torch.full((config.heads,), 2.0))  # gamma = sigmoid(2) = .88
        self.gain = nn.Parameter(torch.full((config.heads,), 0.1))

    def gamma(self) -> Tensor:
        """The discount of each head, (H), in (0, 1)."""
        return self.raw_gamma.sigmoid()

    def looks(self, log_a: Tensor) -> Tensor:
        """Q of every position: (B, L, H) log decays to (B, L, H)."""
        gamma = self.gamma()
        q = torch.zeros_like(log_a[:, 0])
        every = []
        for decay in log_a.exp().unbind(dim=1):
            q = 1 + gamma * decay * q
            every.append(q)
        return torch.stack(every, dim=1)

    def pooled(self, u: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """C_n . S_n of whole histories, shapes as in `model.network.scan`: (B, L, H, P)."""
        return scan(u * self.looks(log_a)[..., None], self.gamma().log().expand_as(log_a), b, c)

    def forward(self, u: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """What the echo adds to y, (B, L, H, P)."""
        return (self.gain * (1 - self.gamma()))[:, None] * self.pooled(u, log_a, b, c)


class NarrowEcho(Echo):
    """One echo for all N directions: E numbers instead of N x E, read out as they are."""

    def pooled(self, u: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:  # noqa: ARG002
        """See `Echo.pooled`."""
        one = torch.ones_like(b[..., :1])
        return super().pooled(u, log_a, one, one)


class EchoedStateSpace(StateSpace):
    """A state space that also shows its echo."""

    def __init__(self, config: ModelConfig, kind: type[Echo]) -> None:
        super().__init__(config)
        self.echo = kind(config)

    def _shown(self, drive: Drive) -> Tensor:
        echoed: Tensor = self.echo(drive.u, drive.log_a, drive.b, drive.c)
        return super()._shown(drive) + echoed


class WithEcho(Network):
    """The reverse direction beside the forward one."""

    kind: type[Echo] = Echo

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.ssm: StateSpace = EchoedStateSpace(config, self.kind)


class SharedEcho(WithEcho):
    """The reverse direction without directions of its own."""

    kind = NarrowEcho


class DiagonalDrive(Drive):
    """dt (..., H, P) and log_a (..., H, P, N): step sizes and decays of each channel."""

    @property
    def u(self) -> Tensor:
        """The scaled input dt * x (..., H, P)."""
        return self.x * self.dt


class DiagonalStateSpace(StateSpace):
    """Mamba's own transition (arXiv 2312.00752), one decay a channel and state,
    A from 1 to N; steps through time.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        E = config.inner
        N = config.state_size
        H = config.heads
        self.dt_spread = nn.Linear(H, E, bias=False)
        dt = torch.exp(torch.rand(E) * math.log(100.0) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus(dt_bias) = dt
        self.log_A = nn.Parameter(torch.arange(1, N + 1).float().log().repeat(E, 1))  # (E, N)

    def _drive(self, conv: Tensor, x: Tensor) -> Drive:
        E = self.config.inner
        N = self.config.state_size
        heads = (self.config.heads, -1)
        inner, b, c = silu(conv).split([E, N, N], dim=-1)
        # (..., H, P)
        dt = softplus(self.dt_spread(self.step_size(x)) + self.dt_bias).unflatten(-1, heads)
        rate = self.log_A.exp().unflatten(0, heads)  # (H, P, N)
        return DiagonalDrive(inner.unflatten(-1, heads), b, c, dt, -dt[..., None] * rate)

    def _shown(self, drive: Drive) -> Tensor:
        return recurrence(drive.u, drive.log_a, drive.b, drive.c)[0]


class Diagonal(Network):
    """Decays of each channel and state."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.ssm: StateSpace = DiagonalStateSpace(config)
