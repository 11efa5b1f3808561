"""The Mamba block (Gu and Dao, arXiv 2312.00752): D -> D, causal,
for the references that are built on it.

    x, z = split(W_in u),
    x = silu(conv(x))                  short causal convolution, a filter a channel
    dt, B, C = W_x x,
    dt = softplus(W_dt dt + b_dt)      one step size a channel, from ceil(D / 16) numbers
    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t,  y_t = C_t . h_t + skip * x_t
    out = W_out (y * silu(z))

It differs from the product's `model.network.ssm` in that B and C come from the convolved input and
are not convolved themselves, in one decay a channel and state, and in having no norm before the
last projection.

Mamba's own start is dt log-uniform in [0.001, 0.1] and A = -(1..N), so that channels remember from
ten to a thousand steps. Code that afterwards resets all linear layers (`published`) sets b_dt to 0:
dt starts near softplus(0) = 0.69 and memory at one or two steps.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from bench.accuracy.baselines.next_item.selective_scan import selective_scan

Start = Literal["mamba", "published"]
DT_MIN = 1e-3
DT_MAX = 1e-1
SPREAD = 0.02  # standard deviation of the published start


class Mamba(nn.Module):
    """One block; E = expand * D inner channels of N states each."""

    def __init__(
        self, width: int, *, states: int = 32, conv_width: int = 4, expand: int = 2
    ) -> None:
        super().__init__()
        inner = expand * width
        rank = -(-width // 16)
        self.sizes = (rank, states, states)
        self.enter = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, conv_width, groups=inner)
        self.select = nn.Linear(inner, rank + 2 * states, bias=False)
        self.step = nn.Linear(rank, inner)
        # (E, N)
        self.log_rate = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.leave = nn.Linear(inner, width, bias=False)
        dt = torch.exp(torch.rand(inner) * math.log(DT_MAX / DT_MIN) + math.log(DT_MIN))
        with torch.no_grad():
            self.step.weight.uniform_(-(rank**-0.5), rank**-0.5)
            self.step.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus of it is dt

    def forward(self, u: Tensor) -> Tensor:
        """Whole histories: (B, L, D) to (B, L, D)."""
        x, z = self.enter(u).chunk(2, dim=-1)  # (B, L, E)
        x = silu(self.conv(pad(x.mT, (self.conv.kernel_size[0] - 1, 0)))).mT
        raw, b, c = self.select(x).split(self.sizes, dim=-1)
        dt = softplus(self.step(raw))  # (B, L, E)
        y = selective_scan(x, dt, self.log_rate.exp(), b, c) + self.skip * x
        out: Tensor = self.leave(y * silu(z))
        return out


def restart(module: nn.Module, start: Start) -> None:
    """Start values as RecBole models set them:
    linear and embedding weights N(0, 0.02), their biases 0.

    With `mamba`, the blocks inside keep their own; with `published` they are overwritten like
    everything else.
    """
    if isinstance(module, Mamba) and start == "mamba":
        return
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=SPREAD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    for child in module.children():
        restart(child, start)
