"""Teachers: trained models whose next-item softmax a new one learns beside the clicks themselves.

A teacher reads each whole history once, before training begins; a step then only takes its
encodings by position. Several teachers speak as one, by the mean of their logits: with encodings
and tables side by side that is one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from model.network.membership import Membership, Seen
from model.network.network import Network
from training.data.sequences import Histories, Vocabulary, Windows, groups, pad
from training.errors import TrainingError
from training.fit.checkpoint import Checkpoint
from training.fit.softmax import Guide

TOKENS = 12_800


class Opinion(NamedTuple):
    """One teacher's logits after each of n events: encoding . item + bias,
    and membership where it has one.
    """

    encodings: Tensor  # (n, D)
    table: Tensor  # (V, D)
    bias: Tensor  # (V,)
    membership: Membership | None


class Teacher(Protocol):
    """A trained model that can be asked about all events of some histories."""

    def opinion(self, histories: Histories, vocabulary: Vocabulary) -> Opinion:
        """What it says after each event, having read no further.

        Raises:
            TrainingError: it was trained on another catalogue.
        """
        ...


@dataclass(frozen=True)
class StreamingTeacher:
    """A model of the product's own kind."""

    network: Network
    items: tuple[str, ...]

    @classmethod
    def load(cls, directory: Path) -> StreamingTeacher:
        """From what `echorank train` left.

        Raises:
            DatasetError: there is no model, or it is damaged.
        """
        checkpoint = Checkpoint.load(directory)
        return cls(checkpoint.network, checkpoint.items)

    @torch.inference_mode()
    def opinion(self, histories: Histories, vocabulary: Vocabulary) -> Opinion:
        """See `Teacher`; it is causal, so one pass over a history serves all its positions."""
        if self.items != vocabulary.items:
            raise TrainingError(
                f"a teacher knows other items than the {len(vocabulary.items):,} of this "
                "catalogue, or numbers them otherwise: train it on the same data"
            )
        network = self.network.eval()
        items = len(self.items)
        found = torch.zeros(len(histories.items), network.config.width)
        some = np.flatnonzero(histories.lengths())
        for windows in groups(
            Windows(histories.starts[:-1][some], histories.starts[1:][some]), TOKENS
        ):
            batch = pad(histories, windows)
            place = torch.from_numpy(batch.begins)[:, None] + torch.arange(
                batch.events.items.shape[1]
            )
            mask = batch.events.mask
            found[place[mask]] = network.encode(batch.events).sequence[mask]
        return Opinion(
            found,
            network.embedding.item.weight[:items],
            network.item_bias[:items],
            network.membership,
        )


class Teachers:
    """What some teachers say together after all events of some histories."""

    @torch.inference_mode()
    def __init__(self, opinions: Sequence[Opinion], weight: float) -> None:
        self.weight = weight
        share = 1 / len(opinions)
        # (n, sum of D)
        self.encodings = torch.cat([each.encodings for each in opinions], dim=1) * share
        self.table = torch.cat([each.table for each in opinions], dim=1)  # (V, sum of D)
        self.bias = torch.stack([each.bias for each in opinions]).mean(dim=0)  # (V)
        self.memberships = [each.membership for each in opinions if each.membership is not None]
        self.share = share

    @torch.no_grad()
    def guide(self, place: Tensor, seen: Seen) -> Guide:
        """What they say after the events at flat positions (n,), about the seen items (p) there."""
        extra = torch.zeros(seen.age.shape)
        for each in self.memberships:
            extra += self.share * each.bias_at(seen)
        return Guide(self.encodings[place], self.table, self.bias, extra, self.weight)
