"""Mamba's selective scan on a CPU, forwards and backwards, compiled;
`model.network.scan.recurrence` is the definition.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t,
    y_t = C_t . h_t        (arXiv 2312.00752, equation 2 and algorithm 2)

PyTorch alone would write states of (B, L, E, N) to memory several times a step. Here one channel's
states of one user (L x N numbers) stay in the cache, and the backward pass computes them anew
instead of keeping them.

Letters: B users, L events, E channels, N states a channel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from model.kernels.elementary import as_float

_LOG2E = np.float32(1 / math.log(2))
_LN2 = np.float32(math.log(2))
_LOWEST = np.float32(-87)
_HALF = np.float32(0.5)
_ONE = np.float32(1)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1 / math.factorial(power)) for power in range(2, 7))


def selective_scan(x: Tensor, dt: Tensor, rate: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """y (B, L, E) of inputs x and step sizes dt (B, L, E), rates -A (E, N),
    directions b and c (B, L, N).
    """
    y: Tensor = _SelectiveScan.apply(x, dt, rate, b, c)
    return y


class _SelectiveScan(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        y = np.empty(inputs[0].shape, np.float32)
        _forward(*_plain(inputs), y)
        return torch.from_numpy(y).to(inputs[0].device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        inputs = ctx.saved_tensors
        users = len(inputs[0])
        grads = [np.zeros(part.shape, np.float32) for part in inputs]
        grad_rate = np.zeros((users, *inputs[2].shape), np.float32)  # summed over users afterwards
        _backward(
            *_plain(inputs), *_plain([grad_y]), grads[0], grads[1], grad_rate, grads[3], grads[4]
        )
        grads[2] = grad_rate.sum(axis=0)
        return tuple(torch.from_numpy(grad).to(grad_y.device) for grad in grads)


@njit(inline="always")
def _exp(x):
    """exp(x) for x <= 0, relative error below 1e-5 under any order of operations.

    `model.kernels.elementary` rounds by adding and subtracting a large number, which the compiler
    may not reorder; here it may.
    """
    x = max(x, _LOWEST)
    k = np.float32(math.floor(x * _LOG2E + _HALF))
    r = x - k * _LN2
    series = _C4 + r * (_C5 + r * _C6)
    series = _ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * series)))
    return series * as_float(np.int32((np.int32(k) + np.int32(127)) << np.int32(23)))


def _plain(tensors: Any) -> list[np.ndarray]:
    return [
        np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32) for tensor in tensors
    ]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _forward(x, dt, rate, b, c, y):
    users, length, channels = x.shape
    states = rate.shape[1]
    h = np.zeros(states, np.float32)
    for user in range(users):
        for e in range(channels):
            h[:] = np.float32(0)
            for t in range(length):
                step = dt[user, t, e]
                u = step * x[user, t, e]
                shown = np.float32(0)
                for n in range(states):
                    h[n] = _exp(-step * rate[e, n]) * h[n] + u * b[user, t, n]
                    shown += c[user, t, n] * h[n]
                y[user, t, e] = shown


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _backward(x, dt, rate, b, c, grad_y, grad_x, grad_dt, grad_rate, grad_b, grad_c):
    """With g_t the gradient of h_t: g_t = grad_y_t C_t + later_t,
    where later_{t-1} = exp(-dt_t rate) g_t.

    One short loop a gradient: all in one, the compiler has too many arrays to tell apart and works
    number by number.
    """
    users, length, channels = x.shape
    states = rate.shape[1]
    h = np.zeros((length + 1, states), np.float32)  # h[t + 1] is the state after event t
    decay = np.zeros((length, states), np.float32)
    # later[t]: what events from t on ask of the state before t
    later = np.zeros((length + 1, states), np.float32)
    to_rate = np.zeros(states, np.float32)
    for user in range(users):
        for e in range(channels):
            for t in range(length):
                step = dt[user, t, e]
                u = step * x[user, t, e]
                for n in range(states):
                    decay[t, n] = _exp(-step * rate[e, n])
                    h[t + 1, n] = decay[t, n] * h[t, n] + u * b[user, t, n]
            for past in range(length):
                # counted up: an index that counts down is checked for wrapping around
                t = length - 1 - past
                back = grad_y[user, t, e]
                for n in range(states):
                    later[t, n] = decay[t, n] * (back * c[user, t, n] + later[t + 1, n])
            to_rate[:] = np.float32(0)
            for t in range(length):
                step = dt[user, t, e]
                value = x[user, t, e]
                back = grad_y[user, t, e]
                to_u = np.float32(0)
                to_step = np.float32(0)
                for n in range(states):
                    grad_c[user, t, n] += back * h[t + 1, n]
                for n in range(states):
                    grad_b[user, t, n] += (back * c[user, t, n] + later[t + 1, n]) * (step * value)
                for n in range(states):
                    to_u += (back * c[user, t, n] + later[t + 1, n]) * b[user, t, n]
                    to_step -= later[t, n] * h[t, n] * rate[e, n]
                for n in range(states):
                    to_rate[n] -= later[t, n] * h[t, n] * step
                grad_x[user, t, e] = to_u * step
                grad_dt[user, t, e] = to_u * value + to_step
            grad_rate[user, e] = to_rate
