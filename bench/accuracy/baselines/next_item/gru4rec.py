"""GRU4Rec: a recurrent network over the history (Hidasi et al., arXiv 1511.06939). Causal.

    h_t = GRU(h_{t-1}, Dropout(e_t)),  out_t = W h_t

One layer of 128 units and a projection to the item table's width, as RecBole has it (the paper
feeds one-hot items and reads out by a table of its own).

Different here: cross-entropy over the full catalogue at every position instead of a pairwise loss
over a mini-batch's other items (the authors' later code offers it too), histories of a user instead
of sessions.
"""

from __future__ import annotations

from torch import Tensor, nn


class GRU4Rec(nn.Module):
    """Encoder of histories of any length."""

    causal = True

    def __init__(self, width: int, dropout: float, *, hidden: int = 128, layers: int = 1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(width, hidden, num_layers=layers, bias=False, batch_first=True)
        self.project = nn.Linear(hidden, width)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 - padding comes last, unseen by events
        """(B, L, D) to (B, L, D)."""
        hidden, _ = self.gru(self.dropout(vectors))  # (B, L, hidden)
        projected: Tensor = self.project(hidden)
        return projected
