"""The linear recurrence h_t = a_t h_{t-1} + u_t (outer) B_t,
read out as y_t = h_t C_t, over whole histories.

One decay a head and step (Mamba-2, arXiv 2405.21060). `scan` works in chunks: a small quadratic
form inside each chunk, states carried between chunks. Beside it stands `recurrence`, the definition
in a loop, for tests and studies.

    u      (B, L, H, P)     input, already scaled by the step size
    log_a  (B, L, H)        log of the decay, not positive; for `recurrence` also (B, L, H, P, N)
    b, c   (B, L, N)        input and output directions
    y      (B, L, H, P)

C chunks have S = CHUNK events each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

CHUNK = 16


def recurrence(u: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, step by step; returns (y, last state (B, H, P, N))."""
    decay = log_a.exp()
    if decay.dim() == 3:
        decay = decay[..., None, None]  # (B, L, H, 1, 1)
    state = u.new_zeros(*u[:, 0].shape, b.shape[-1])  # (B, H, P, N)
    outputs = []
    for t in range(u.shape[1]):
        state = decay[:, t] * state + u[:, t, :, :, None] * b[:, t, None, None, :]
        outputs.append((state * c[:, t, None, None, :]).sum(dim=-1))  # (B, H, P)
    return torch.stack(outputs, dim=1), state


def scan(u: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Chunked form of `recurrence`: y (B, L, H, P)."""
    length = u.shape[1]
    extra = -length % CHUNK
    u = pad(u, (0, 0, 0, 0, 0, extra))
    log_a = pad(log_a, (0, 0, 0, extra))
    b = pad(b, (0, 0, 0, extra))
    c = pad(c, (0, 0, 0, extra))
    u, log_a, b, c = (x.unflatten(1, (-1, CHUNK)) for x in (u, log_a, b, c))  # (B, C, S, ...)
    u = u.movedim(3, 2).contiguous()  # (B, C, H, S, P)
    total = log_a.cumsum(dim=2).movedim(3, 2).contiguous()  # (B, C, H, S)

    # 1. Inside a chunk: y_t = sum_{s<=t} exp(total_t - total_s) (c_t . b_s) u_s.
    later = torch.full((CHUNK, CHUNK), float("-inf"), device=u.device, dtype=u.dtype).triu(1)
    fade = (total[..., :, None] - total[..., None, :] + later).exp()  # (B, C, H, S, S)
    inside = (fade * (c @ b.mT)[:, :, None]) @ u  # (B, C, H, S, P)

    # 2. What each chunk adds to the state, and the state before each chunk, as (N, H P) matrices.
    to_end = (total[..., -1:] - total).exp()  # (B, C, H, S)
    added = b.mT @ (to_end[..., None] * u).movedim(2, 3).flatten(3)  # (B, C, N, HP)
    whole = total[..., -1].exp().repeat_interleave(u.shape[-1], dim=-1)[:, :, None]  # (B, C, 1, HP)
    state = torch.zeros_like(added[:, 0])
    before = []
    for chunk in range(added.shape[1]):
        before.append(state)
        state = torch.addcmul(added[:, chunk], whole[:, chunk], state)

    # 3. What the carried state shows.
    carried = (c @ torch.stack(before, dim=1)).unflatten(-1, (u.shape[2], -1))  # (B, C, S, H, P)
    y = inside.movedim(2, 3) + carried * total.exp().movedim(2, 3)[..., None]
    return y.flatten(1, 2)[:, :length]  # (B, L, H, P)
