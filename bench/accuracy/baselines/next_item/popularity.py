"""The baseline that everything must beat: the most frequent items first, for everybody."""

from __future__ import annotations

import torch
from torch import Tensor

from model.arrays import Longs
from model.network.embedding import Sequences


class Popularity:
    """Scores every item by its number of events in the training part."""

    def __init__(self, counts: Longs) -> None:
        self.counts = torch.from_numpy(counts).float()  # (V,)

    def logits_at(self, events: Sequences, row: Tensor, at: Tensor) -> Tensor:  # noqa: ARG002 - the same for all
        """The counts for each of the m questions: (m, V)."""
        return self.counts.repeat(len(at), 1)
