"""SASRec: causal self-attention over the history (Kang and McAuley, 2018, arXiv 1808.09781).

    x_t = sqrt(D) e_t + p_t x <- x + Dropout(Attention(LN(x), x, x)),
    x <- x + Dropout(W2 ReLU(W1 LN(x)))      B blocks, last LN

As published: learned positions, two blocks, queries from the normalised input and keys and values
from the plain one, inner width D in the feed-forward part, dropout 0.2 (ML-1M) or 0.5 (sparse
sets), history 200 or 50.

Different here: cross-entropy over the full catalogue at every position instead of binary
cross-entropy with one sampled negative (the later literature agrees that this is what makes SASRec
strong); positions are counted from the window's start, since windows are padded at their end; two
heads, as RecBole has them, where the paper has one.
"""

from __future__ import annotations

from torch import Tensor, arange, nn
from torch.nn.functional import relu, scaled_dot_product_attention


class SASRec(nn.Module):
    """Encoder of histories of up to `length` + 1 events."""

    causal = True

    def __init__(
        self, width: int, length: int, dropout: float, *, blocks: int = 2, heads: int = 2
    ) -> None:
        super().__init__()
        self.scale = width**0.5
        self.position = nn.Embedding(length + 1, width)
        nn.init.normal_(self.position.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 - padding comes last, unseen by events
        """(B, L, D) to (B, L, D)."""
        places = self.position(arange(vectors.shape[1], device=vectors.device))  # (L, D)
        x = self.dropout(self.scale * vectors + places)
        for block in self.blocks:
            x = block(x)
        encoded: Tensor = self.norm(x)
        return encoded


class Block(nn.Module):
    """Attention, then a feed-forward part, each normalised before and added afterwards."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.rate = dropout
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width)
        self.forward_norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        query, key, value = (
            self._split(t) for t in (self.query(self.attention_norm(x)), self.key(x), self.value(x))
        )
        rate = self.rate if self.training else 0.0
        # (B, h, L, D/h)
        seen = scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        x = x + self.dropout(self.mix(seen.transpose(1, 2).flatten(2)))
        shown: Tensor = x + self.dropout(
            self.outer(self.dropout(relu(self.inner(self.forward_norm(x)))))
        )
        return shown

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, h, L, D/h)
