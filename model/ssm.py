"""Selective state space with Mamba's short convolution and output gate, and two transitions behind one interface.

h_t = a_t h_{t-1} + dt_t x_t (outer) B_t,   y_t = h_t C_t + skip * x_t,   a_t = exp(-dt_t A)

`scalar`: one A a head (Mamba-2). `diagonal`: one A a channel and state (Mamba). Both keep Mamba's own initialisation:
dt log-uniform in [0.001, 0.1]; A uniform in [1, 16] for `scalar`, 1..N for `diagonal`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from model.config import ModelConfig
from model.echo import Echo
from model.scan import scan_diagonal, scan_scalar


class Drive(NamedTuple):
    """What one event does to the state: everything the recurrence needs, for any leading dimensions."""

    x: Tensor  # (..., H, P)
    b: Tensor  # (..., N)
    c: Tensor  # (..., N)
    dt: Tensor  # (..., H) or (..., H, P)
    log_a: Tensor  # (..., H) or (..., H, P, N)

    @property
    def u(self) -> Tensor:
        """The scaled input dt * x (..., H, P)."""
        return self.x * (self.dt[..., None] if self.dt.dim() < self.x.dim() else self.dt)


class StateSpace(nn.Module):
    """D -> D; the caller adds the residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        E, N, H = config.inner, config.state_size, config.heads
        self.gate = nn.Linear(config.width, E, bias=False)  # z
        self.mix = nn.Linear(config.width, E + 2 * N, bias=False)  # x, B, C before the convolution
        self.step_size = nn.Linear(config.width, H, bias=False)
        self.conv = nn.Conv1d(E + 2 * N, E + 2 * N, config.conv_width, groups=E + 2 * N)
        dt = torch.exp(torch.rand(H if self.scalar else E) * math.log(100.0) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus(dt_bias) = dt
        if self.scalar:
            self.log_A = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        else:
            self.dt_spread = nn.Linear(H, E, bias=False)
            self.log_A = nn.Parameter(torch.arange(1, N + 1).float().log().repeat(E, 1))  # (E, N)
        self.skip = nn.Parameter(torch.ones(H))
        self.norm = nn.RMSNorm(E, eps=1e-5)
        self.out = nn.Linear(E, config.width, bias=False)
        self.echo = Echo(config) if config.echo else None

    @property
    def scalar(self) -> bool:
        """True for one decay a head."""
        return self.config.transition == "scalar"

    def conv_bias(self) -> Tensor:
        """Bias of the short convolution, (E + 2N)."""
        assert self.conv.bias is not None
        return self.conv.bias

    def _drive(self, conv: Tensor, x: Tensor) -> Drive:
        """From the convolved mix (..., E+2N) and the block's input (..., D)."""
        E, N = self.config.inner, self.config.state_size
        inner, b, c = silu(conv).split([E, N, N], dim=-1)
        inner = inner.unflatten(-1, (self.config.heads, -1))  # (..., H, P)
        raw = self.step_size(x)  # (..., H)
        if self.scalar:
            dt = softplus(raw + self.dt_bias)
            return Drive(inner, b, c, dt, -dt * self.log_A.exp())
        dt = softplus(self.dt_spread(raw) + self.dt_bias).unflatten(-1, (self.config.heads, -1))  # (..., H, P)
        rate = self.log_A.exp().unflatten(0, (self.config.heads, -1))  # (H, P, N)
        return Drive(inner, b, c, dt, -dt[..., None] * rate)

    def _finish(self, y: Tensor, drive: Drive, x: Tensor) -> Tensor:
        y = (y + self.skip[:, None] * drive.x).flatten(-2)  # (..., E)
        finished: Tensor = self.out(self.norm(y * silu(self.gate(x))))
        return finished

    def forward(self, x: Tensor) -> Tensor:
        """Whole histories: (B, L, D) to (B, L, D)."""
        mixed = pad(self.mix(x).mT, (self.config.conv_width - 1, 0))  # (B, E+2N, L+W-1)
        drive = self._drive(self.conv(mixed).mT, x)
        scan = scan_scalar if self.scalar else scan_diagonal
        y = scan(drive.u, drive.log_a, drive.b, drive.c)
        if self.echo is not None:
            y = y + self.echo(drive.u, drive.log_a, drive.b, drive.c)
        return self._finish(y, drive, x)

    def step(self, x: Tensor, state: StateSpaceState) -> tuple[Tensor, StateSpaceState]:
        """One event: x (B, D) and the state before it, to the output (B, D) and the state after it."""
        tail = torch.cat([state.tail, self.mix(x)[:, None]], dim=1)  # (B, W, E+2N), oldest first
        drive = self._drive((tail * self.conv.weight[:, 0].mT).sum(dim=1) + self.conv_bias(), x)
        decay = drive.log_a.exp()
        h = (decay[..., None, None] if self.scalar else decay) * state.h + drive.u[..., None] * drive.b[:, None, None]
        y = (h * drive.c[:, None, None]).sum(dim=-1)  # (B, H, P)
        q, s = state.q, state.s
        if self.echo is not None:
            shown, q, s = self.echo.step(drive.u, decay, drive.b, drive.c, q, s)
            y = y + shown
        return self._finish(y, drive, x), StateSpaceState(tail[:, 1:], h, q, s)


class StateSpaceState(NamedTuple):
    """What the state space remembers of B users."""

    tail: Tensor  # (B, W-1, E+2N), the last inputs of the convolution, oldest first
    h: Tensor  # (B, H, P, N)
    q: Tensor  # (B, H), the echo's Q
    s: Tensor  # (B, H, P, N), the echo's S

    @classmethod
    def zeros(cls, config: ModelConfig, users: int) -> StateSpaceState:
        """States of users without events."""
        H, P, N = config.heads, config.head_dim, config.state_size
        tail = torch.zeros(users, config.conv_width - 1, config.inner + 2 * N)
        return cls(tail, torch.zeros(users, H, P, N), torch.zeros(users, H), torch.zeros(users, H, P, N))
