"""SASRec: causal self-attention over the history (Kang and McAuley, 2018, arXiv 1808.09781),
in the form that RecBole gives it, whose runs are the highest published ones.

    x_t = Dropout(LN(e_t + p_t))
    x <- LN(x + Dropout(Attention(x, x, x)))
    x <- LN(x + Dropout(W2 GELU(W1 x)))                 B blocks

As RecBole has it: learned positions counted from the window's start, two blocks of two heads, inner
width 4 D, everything started at N(0, 0.02^2), dropout 0.2 (ML-1M) or 0.5 (sparse sets) on inputs,
attention and both outputs, history 200 or 50, cross-entropy over the full catalogue.

The paper's own form scales inputs by sqrt(D), normalises before attention instead of after it, and
has an inner width of D and one head. It learns more slowly (docs/studies.md, "References").
Different from RecBole: a batch learns from all positions of a window at once instead of from
prefixes one by one, which is the same loss.
"""

from __future__ import annotations

from torch import Tensor, arange, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

SPREAD = 0.02  # standard deviation of all weights at the start
EPSILON = 1e-12


class SASRec(nn.Module):
    """Encoder of histories of up to `length` + 1 events."""

    causal = True

    def __init__(
        self, width: int, length: int, dropout: float, *, blocks: int = 2, heads: int = 2
    ) -> None:
        super().__init__()
        self.position = nn.Embedding(length + 1, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.apply(start)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 - padding comes last, unseen by events
        """(B, L, D) to (B, L, D)."""
        places = self.position(arange(vectors.shape[1], device=vectors.device))  # (L, D)
        x: Tensor = self.dropout(self.norm(vectors + places))
        for block in self.blocks:
            x = block(x)
        return x


class Block(nn.Module):
    """Attention, then a feed-forward part, each added and normalised afterwards."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.rate = dropout
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.forward_norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        rate = self.rate if self.training else 0.0
        # (B, h, L, D/h)
        seen = scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        x = self.attention_norm(x + self.dropout(self.mix(seen.transpose(1, 2).flatten(2))))
        shown: Tensor = self.forward_norm(x + self.dropout(self.outer(gelu(self.inner(x)))))
        return shown

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, h, L, D/h)


def start(module: nn.Module) -> None:
    """RecBole's starting values."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=SPREAD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
