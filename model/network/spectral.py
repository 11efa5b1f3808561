"""Learnable frequency-domain filter, made causal (EchoMamba4Rec, section on the Fourier layer).

k = irfft(W, n=K),  y_t = LayerNorm(x_t + sum_{j<K} k_j * x_{t-j})

The published filter multiplies the whole window's spectrum, a circular convolution in which the
past sees the future. Zero padding makes it linear; K taps make it stream. At the last position of a
window of K events both are equal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import ModelConfig


class SpectralFilter(nn.Module):
    """One complex response of (K/2+1, D), applied per channel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.taps_count = config.ring_length
        self.response = nn.Parameter(
            torch.randn(config.ring_length // 2 + 1, config.width, 2) * 0.02
        )
        self.norm = nn.LayerNorm(config.width)

    def taps(self) -> Tensor:
        """The filter in time: k (K, D), tap j weighs the event j steps back."""
        # (K, D)
        return torch.fft.irfft(torch.view_as_complex(self.response), n=self.taps_count, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """Filter whole histories: (B, L, D) to (B, L, D), by FFT over zero-padded time."""
        length = x.shape[1]
        size = length + self.taps_count
        # (B, frequencies, D)
        spectrum = torch.fft.rfft(x, n=size, dim=1) * torch.fft.rfft(self.taps(), n=size, dim=0)
        smooth = torch.fft.irfft(spectrum, n=size, dim=1)[:, :length]  # (B, L, D)
        filtered: Tensor = self.norm(x + smooth)
        return filtered

    def step(self, ring: Tensor) -> Tensor:
        """Filter the newest event from the ring: (B, K, D),
        newest first and zero where empty, to (B, D).
        """
        filtered: Tensor = self.norm(ring[:, 0] + (self.taps() * ring).sum(dim=1))
        return filtered
