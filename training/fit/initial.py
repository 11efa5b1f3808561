"""Starting values that the data already tell, so that no training time is spent on finding them.

Item vectors start from a factorisation of which items follow each other, where a recipe says so.
Biases move by about the learning rate a step, so a bias of 5 would take thousands of steps to
arrive.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.arrays import Bools, Doubles, Longs
from model.network.membership import Membership
from model.network.network import Network
from training.data.sequences import Histories
from training.data.transitions import transition_vectors

POSITIONS = 2000  # events that membership's starting values are learned from
STEPS = 150
RATE = 0.1
BIAS_MAX = 8.0
UNKNOWN = 0.1  # length of the random vectors beside known ones
SHARE_MIN = 1e-9  # that is left for all items together


@torch.no_grad()
def start_from_data(network: Network, histories: Histories, seed: int) -> None:
    """Set two biases in place: items by log frequency, membership by what comes again.

    Hashed rows start as rare as the rarest item. The head starts as the next-item logit, to which
    its own part adds nothing yet.
    """
    counts = histories.counts(network.items)
    frequency = torch.from_numpy(np.log(counts + 1.0)).float()
    network.item_bias.fill_(float(frequency.min() - frequency.mean()))
    network.item_bias[: network.items] = frequency - frequency.mean()
    start_membership(network.membership, histories, counts, np.random.default_rng(seed))


@torch.no_grad()
def start_from_transitions(
    network: Network, histories: Histories, length: float, seed: int
) -> None:
    """Set the vectors of items that stand beside others in place, `length` times as long as random
    ones; those of the others, of which nothing is known, become short. A `length` of 0 sets none.
    """
    if not length:
        return
    table = network.embedding.item.weight
    random_norm = table.norm(dim=1).mean()
    vectors = transition_vectors(histories, network.items, table.shape[1], seed).to(table.device)
    known = vectors.any(dim=1, keepdim=True)
    table[: network.items] = torch.where(
        known, vectors * (length * random_norm), table[: network.items] * UNKNOWN
    )


def start_membership(
    membership: Membership, histories: Histories, counts: Longs, random: np.random.Generator
) -> None:
    """Set membership's weights to where they, on top of popularity alone, say best what comes next.

    That is the least cross-entropy over the whole catalogue, at POSITIONS random events, by STEPS
    of Adam from 0. Ages that never come stay at 0, and so do the biases by number, which would
    only share the weights' part.
    """
    past = pasts(membership, histories, counts, random)
    if past is None:
        return
    with torch.enable_grad():
        optimizer = torch.optim.Adam([membership.bias], lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(past.loss(membership))
            optimizer.step()
    membership.zero_grad(set_to_none=True)
    membership.bias.clamp_(-BIAS_MAX, BIAS_MAX)


class Pasts(NamedTuple):
    """p items of the histories behind n events, by event."""

    row: Tensor  # (p,) number of the event
    ages: Tensor  # (p, age buckets - 1) occurrences of the item, by age
    share: Tensor  # (p,) of all clicks
    wanted: Tensor  # (p,) whether the event is of this item
    events: int  # n

    def loss(self, membership: Membership) -> Tensor:
        """Mean cross-entropy of the events under popularity and membership,
        less what popularity alone costs the targets.
        """
        summed = torch.stack([self.ages @ membership.bias.exp(), self.ages.sum(dim=1)])
        bias = membership.bias_of(summed)  # (p,)
        odds = self.share * (bias.exp() - 1)
        total = torch.ones(self.events).index_add(0, self.row, odds).clamp(min=SHARE_MIN)
        return (total.log().sum() - bias[self.wanted].sum()) / self.events


def pasts(
    membership: Membership, histories: Histories, counts: Longs, random: np.random.Generator
) -> Pasts | None:
    """What is in reach behind at most POSITIONS random events of the catalogue, those of a user's
    first aside; None if nothing is.
    """
    known = len(counts)
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    places = 1 + np.flatnonzero((np.diff(users) == 0) & (histories.items[1:] < known))
    if len(places) > POSITIONS:
        places = random.choice(places, POSITIONS, replace=False)
    columns: list[tuple[Longs, Doubles, Doubles, Bools]] = []
    for row, place in enumerate(places):
        start = max(int(histories.starts[users[place]]), int(place) - membership.reach)
        past = histories.items[start:place][::-1]  # newest first
        age = np.flatnonzero(past < known)
        items, of = np.unique(past[age], return_inverse=True)
        ages = np.zeros((len(items), membership.buckets))
        np.add.at(ages, (of, membership.bucket(torch.from_numpy(age)).numpy()), 1)
        share = counts[items] / counts.sum()
        columns.append(
            (np.full(len(items), row), ages[:, :-1], share, items == histories.items[place])
        )
    if not sum(len(each[0]) for each in columns):
        return None
    whole = [torch.from_numpy(np.concatenate(column)) for column in zip(*columns, strict=True)]
    return Pasts(whole[0], whole[1].float(), whole[2].float(), whole[3], len(places))
