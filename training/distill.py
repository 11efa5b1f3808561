"""Teachers: trained networks whose next-item softmax a new one learns beside the clicks themselves.

A teacher has read each whole history once, before training begins; a step then only takes its encodings by position.
Several teachers speak as one, by the mean of their logits: with encodings and tables side by side that is one product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.network import Network
from training.checkpoint import Checkpoint
from training.errors import TrainingError
from training.sequences import Histories, Vocabulary, Windows, groups, pad
from training.softmax import Guide

TOKENS = 12_800


class Teachers:
    """Some networks' encodings of all events of some histories.

    Raises:
        TrainingError: a teacher was trained on another catalogue.

    """

    @torch.inference_mode()
    def __init__(
        self, teachers: Sequence[Checkpoint], histories: Histories, vocabulary: Vocabulary, weight: float
    ) -> None:
        if any(teacher.items != vocabulary.items for teacher in teachers):
            raise TrainingError(
                f"a teacher knows other items than the {len(vocabulary.items):,} of this catalogue, or numbers them "
                "otherwise: train it on the same data"
            )
        networks, items = [teacher.network for teacher in teachers], len(vocabulary.items)
        self.weight, share = weight, 1 / len(networks)
        parts = [_encodings(network.eval(), histories) for network in networks]
        self.encodings = torch.cat(parts, dim=1) * share  # (n, sum of D)
        self.table = torch.cat([network.embedding.item.weight[:items] for network in networks], dim=1)  # (V, sum of D)
        self.bias = torch.stack([network.item_bias[:items] for network in networks]).mean(dim=0)  # (V)
        self.memberships = [network.membership for network in networks]

    @torch.no_grad()
    def guide(self, place: Tensor, age: Tensor) -> Guide:
        """What they say after the events at flat positions (n,), about seen items of ages (p,)."""
        extra = torch.stack([each.bias_of(each.bucket(age)) for each in self.memberships]).mean(dim=0)
        return Guide(self.encodings[place], self.table, self.bias, extra, self.weight)


def _encodings(network: Network, histories: Histories) -> Tensor:
    """The sequence state (n, D) after each event."""
    found = torch.zeros(len(histories.items), network.config.width)
    some = np.flatnonzero(histories.lengths())
    for windows in groups(Windows(histories.starts[:-1][some], histories.starts[1:][some]), TOKENS):
        batch = pad(histories, windows)
        place = torch.from_numpy(batch.begins)[:, None] + torch.arange(batch.events.items.shape[1])
        mask = batch.events.mask
        found[place[mask]] = network.encode(batch.events).sequence[mask]
    return found
