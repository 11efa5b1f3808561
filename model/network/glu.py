"""Gated linear unit: LayerNorm(x + W2(v * sigmoid(g))), (v, g) = split(W1 x)  (EchoMamba4Rec)."""

from __future__ import annotations

from torch import Tensor, nn

from model.config import ModelConfig


class GLU(nn.Module):
    """One gated unit with a residual, applied at each position by itself."""

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        inner = config.glu_expand * config.width
        self.gate = nn.Linear(config.width, 2 * inner)
        self.out = nn.Linear(inner, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        value, gate = self.gate(x).chunk(2, dim=-1)
        mixed: Tensor = self.norm(x + self.dropout(self.out(value * gate.sigmoid())))
        return mixed
