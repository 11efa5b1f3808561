"""Mamba4Rec: a Mamba block and a feed-forward part over the history (arXiv 2403.03900). Causal.

    x = LN(Dropout(e)),   x <- LN(Dropout(Mamba(x)) [+ x]),
    x <- LN(x + Dropout(W2 Dropout(GELU(W1 x))))

As published: one layer, 32 states a channel, convolution of width 4, expansion 2, inner width 4 D,
no positions, and no residual around the Mamba block where there is only one layer.

Left open, chosen here. The public code is trained on the last position of every prefix; the model
is causal, so all positions of a window at once are the same targets at a fraction of the cost. It
also resets Mamba's own start, which shortens the memory (see
`bench.accuracy.baselines.next_item.mamba`); Mamba's own start is kept unless `published` is asked
for.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

from bench.accuracy.baselines.next_item.mamba import Mamba, Start, restart


class Mamba4Rec(nn.Module):
    """Encoder of histories of any length."""

    causal = True

    def __init__(
        self,
        width: int,
        dropout: float,
        *,
        layers: int = 1,
        states: int = 32,
        start: Start = "mamba",
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(width, dropout, states, residual=layers > 1) for _ in range(layers)
        )
        restart(self, start)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 - padding comes last, unseen by events
        """(B, L, D) to (B, L, D)."""
        x = self.norm(self.dropout(vectors))
        for layer in self.layers:
            x = layer(x)
        return x


class Layer(nn.Module):
    """Mamba, then a feed-forward part."""

    def __init__(self, width: int, dropout: float, states: int, *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.mamba = Mamba(width, states=states)
        self.mamba_norm = nn.LayerNorm(width)
        self.forward_norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        mixed = self.dropout(self.mamba(x))
        x = self.mamba_norm(mixed + x if self.residual else mixed)
        shown: Tensor = self.forward_norm(
            x + self.dropout(self.outer(self.dropout(gelu(self.inner(x)))))
        )
        return shown
