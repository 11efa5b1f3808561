"""Heads that see less than the product's, side by side on one network.

What a head does not see has values of 0, so the compiled fold and scorer read all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.head import Evidence, RingAttention
from model.network.lowrank import LowRank
from model.network.network import Encoding, Network
from training.data.sequences import Batch
from training.fit.train import StreamingTask

WHOLE = "ring attention and slots"
WITHOUT: Mapping[str, tuple[str, ...]] = {
    WHOLE: (),
    "ring attention": ("slots",),
    "slots": ("ring",),
    "neither": ("ring", "slots"),
}


class Sight(nn.Module):
    """One head and what it sees."""

    def __init__(self, config: ModelConfig, without: Sequence[str]) -> None:
        super().__init__()
        self.ring = RingAttention(config)
        self.slots = LowRank(config)
        self.evidence = Evidence(config)
        for name in without:
            value = self.get_submodule(name).get_submodule("value").get_parameter("weight")
            nn.init.zeros_(value).requires_grad_(False)


class ManyHeads(Network):
    """The product's network with a head of each kind; it wears one at a time."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.sights = nn.ModuleList(Sight(config, without) for without in WITHOUT.values())
        self.wear(WHOLE)

    def wear(self, name: str) -> None:
        """Score by the head called `name`."""
        sight = self.sights[list(WITHOUT).index(name)]
        assert isinstance(sight, Sight)
        self.ring = sight.ring
        self.lowrank = sight.slots
        self.evidence = sight.evidence

    def negativity(self, encoding: Encoding) -> Tensor:  # noqa: ARG002 - see `Network.negativity`
        """LREA's term of all heads."""
        terms = [sight.slots.negativity() for sight in self.sights if isinstance(sight, Sight)]
        return torch.stack(terms).sum()


class ManyHeadsTask(StreamingTask):
    """Each head learns from lists of its own."""

    def click(
        self, encoding: Encoding, events: Sequences, batch: Batch, random: np.random.Generator
    ) -> Tensor:
        """Sum of the heads' losses."""
        assert isinstance(self.network, ManyHeads)
        losses = []
        for name in WITHOUT:
            self.network.wear(name)
            losses.append(super().click(encoding, events, batch, random))
        self.network.wear(WHOLE)  # parameters keep their order
        return torch.stack(losses).sum()
