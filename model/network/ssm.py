"""Selective state space with Mamba's short convolution and output gate, and one decay a head.

h_t = a_t h_{t-1} + dt_t x_t (outer) B_t,   y_t = h_t C_t + skip * x_t,   a_t = exp(-dt_t A)

The transition is Mamba-2's (arXiv 2405.21060), and so is its initialisation: dt log-uniform in
[0.001, 0.1], A uniform in [1, 16].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from model.config import ModelConfig
from model.network.scan import scan


class Drive(NamedTuple):
    """What one event does to the state:
    everything the recurrence needs, for any leading dimensions.
    """

    x: Tensor  # (..., H, P)
    b: Tensor  # (..., N)
    c: Tensor  # (..., N)
    dt: Tensor  # (..., H)
    log_a: Tensor  # (..., H)

    @property
    def u(self) -> Tensor:
        """The scaled input dt * x (..., H, P)."""
        return self.x * self.dt[..., None]


class StateSpace(nn.Module):
    """D -> D; the caller adds the residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        E = config.inner
        N = config.state_size
        H = config.heads
        self.gate = nn.Linear(config.width, E, bias=False)  # z
        self.mix = nn.Linear(config.width, E + 2 * N, bias=False)  # x, B, C before the convolution
        self.step_size = nn.Linear(config.width, H, bias=False)
        self.conv = nn.Conv1d(E + 2 * N, E + 2 * N, config.conv_width, groups=E + 2 * N)
        dt = torch.exp(torch.rand(H) * math.log(100.0) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus(dt_bias) = dt
        self.log_A = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(H))
        self.norm = nn.RMSNorm(E, eps=1e-5)
        self.out = nn.Linear(E, config.width, bias=False)

    def conv_bias(self) -> Tensor:
        """Bias of the short convolution, (E + 2N)."""
        assert self.conv.bias is not None
        return self.conv.bias

    def _drive(self, conv: Tensor, x: Tensor) -> Drive:
        """From the convolved mix (..., E+2N) and the block's input (..., D)."""
        E = self.config.inner
        N = self.config.state_size
        inner, b, c = silu(conv).split([E, N, N], dim=-1)
        inner = inner.unflatten(-1, (self.config.heads, -1))  # (..., H, P)
        dt = softplus(self.step_size(x) + self.dt_bias)  # (..., H)
        return Drive(inner, b, c, dt, -dt * self.log_A.exp())

    def _shown(self, drive: Drive) -> Tensor:
        """What the states of whole histories show, (B, L, H, P)."""
        return scan(drive.u, drive.log_a, drive.b, drive.c)

    def _finish(self, y: Tensor, drive: Drive, x: Tensor) -> Tensor:
        y = (y + self.skip[:, None] * drive.x).flatten(-2)  # (..., E)
        finished: Tensor = self.out(self.norm(y * silu(self.gate(x))))
        return finished

    def forward(self, x: Tensor) -> Tensor:
        """Whole histories: (B, L, D) to (B, L, D)."""
        mixed = pad(self.mix(x).mT, (self.config.conv_width - 1, 0))  # (B, E+2N, L+W-1)
        drive = self._drive(self.conv(mixed).mT, x)
        return self._finish(self._shown(drive), drive, x)

    def step(self, x: Tensor, state: StateSpaceState) -> tuple[Tensor, StateSpaceState]:
        """One event: x (B, D) and the state before it,
        to the output (B, D) and the state after it.
        """
        tail = torch.cat([state.tail, self.mix(x)[:, None]], dim=1)  # (B, W, E+2N), oldest first
        drive = self._drive((tail * self.conv.weight[:, 0].mT).sum(dim=1) + self.conv_bias(), x)
        h = (
            drive.log_a.exp()[..., None, None] * state.h
            + drive.u[..., None] * drive.b[:, None, None]
        )
        y = (h * drive.c[:, None, None]).sum(dim=-1)  # (B, H, P)
        return self._finish(y, drive, x), StateSpaceState(tail[:, 1:], h)


class StateSpaceState(NamedTuple):
    """What the state space remembers of B users."""

    tail: Tensor  # (B, W-1, E+2N), the last inputs of the convolution, oldest first
    h: Tensor  # (B, H, P, N)

    @classmethod
    def zeros(cls, config: ModelConfig, users: int) -> StateSpaceState:
        """States of users without events."""
        H = config.heads
        P = config.head_dim
        N = config.state_size
        tail = torch.zeros(users, config.conv_width - 1, config.inner + 2 * N)
        return cls(tail, torch.zeros(users, H, P, N))
