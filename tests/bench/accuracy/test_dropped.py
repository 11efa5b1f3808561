"""What the product dropped is still what it was:
the echo is the reverse scan's sum, equal decays are one decay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.accuracy.dropped import DiagonalStateSpace, Echo, NarrowEcho
from model.config import ModelConfig
from model.network.ssm import StateSpace

SMALL = ModelConfig(width=32, expand=2, heads=8)


def reverse_scan_pooled(u: Tensor, decay: Tensor, gamma: Tensor) -> Tensor:
    """S_n by brute force: the reverse scan over the whole prefix,
    then its discounted sum. u (L, ...), decay (L).
    """
    last = u.shape[0] - 1
    g = u[last]
    total = u[last]
    for t in range(last - 1, -1, -1):
        g = decay[t + 1] * g + u[t]
        total = total + gamma ** (last - t) * g
    return total


def test_echo_equals_the_reverse_scan() -> None:
    """At every prefix, for each head and direction, in double precision;
    the shared echo sums without directions.
    """
    torch.manual_seed(0)
    heads = SMALL.heads
    width = 16
    states = 8
    length = 60
    u = torch.randn(length, heads, width).double()
    decay = torch.rand(length, heads).double()
    b, c = torch.randn(2, length, states).double()
    outer = u[..., None] * b[:, None, None]  # (L, H, P, N)
    for kind in (Echo, NarrowEcho):
        echo = kind(SMALL).double()
        pooled = echo.pooled(u[None], decay.log()[None], b[None], c[None])[0]  # (L, H, P)
        for n in range(length):
            for head, gamma in enumerate(echo.gamma()):
                past = slice(0, n + 1)
                if kind is Echo:
                    brute = reverse_scan_pooled(outer[past, head], decay[past, head], gamma) @ c[n]
                else:
                    brute = reverse_scan_pooled(u[past, head], decay[past, head], gamma)
                torch.testing.assert_close(pooled[n, head], brute, atol=1e-10, rtol=1e-10)


def test_equal_decays_of_all_channels_are_one_decay_a_head() -> None:
    """With every channel's step and decay that of its head,
    both transitions give the same output.
    """
    torch.manual_seed(0)
    one = StateSpace(SMALL)
    every = DiagonalStateSpace(SMALL)
    shared = {
        name: value for name, value in one.state_dict().items() if name not in ("dt_bias", "log_A")
    }
    every.load_state_dict(shared, strict=False)
    with torch.no_grad():
        each_head = torch.eye(SMALL.heads).repeat_interleave(SMALL.head_dim, dim=0)  # (E, H)
        every.dt_spread.weight.copy_(each_head)
        every.dt_bias.copy_(each_head @ one.dt_bias)
        every.log_A.copy_((each_head @ one.log_A)[:, None].expand_as(every.log_A))
        x = torch.randn(2, 40, SMALL.width)
        torch.testing.assert_close(every(x), one(x), atol=1e-5, rtol=1e-4)
