"""SIM, hard search (arXiv 2006.05639):
attention over the newest K events of the candidate's category.

The general search unit keeps events whose category equals the candidate's; the exact search unit is
target attention over them. Left open: how many are kept (50 here), which category (a MovieLens
film's first genre), what is answered when nothing matches (zero). Left out, for every method alike:
the attention over the newest events that the paper has beside it; the time intervals of its exact
search unit are an age bias here.

Multiply-adds a candidate: 2 K D. The search reads an index of the history by category.
"""

from __future__ import annotations

from torch import Tensor

from bench.accuracy.baselines.ctr.interest import Asked, Interest
from bench.accuracy.baselines.ctr.target_attention import Attention

KEPT = 50


class SearchByCategory(Interest):
    """SIM-hard."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.attention = Attention(width, aged=True)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        return self.attention(asked, chosen(asked))

    def multiply_adds(self, length: int) -> int:
        """2 min(K, L) D."""
        return 2 * min(KEPT, length) * self.width

    def state_bytes(self) -> int | None:
        """None: the history itself."""
        return None


def chosen(asked: Asked, kept: int = KEPT) -> Tensor:
    """The newest `kept` events of each candidate's category, (B, Q, L) bool."""
    same = asked.inside() & (asked.categories[:, None] == asked.candidate_categories[..., None])
    newer = same.flip(-1).cumsum(dim=-1).flip(-1)  # of the category, this event included
    return same & (newer <= kept)
