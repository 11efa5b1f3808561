"""Starting values that the data already tell, so that no training time is spent on finding them.

Biases move by about the learning rate a step, so a bias of 5 would take thousands of steps to
arrive.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from model.arrays import Longs
from model.network.membership import Membership
from model.network.network import Network
from training.data.sequences import Histories

SAMPLE = 2000  # histories looked at to learn what chance would repeat
BIAS_MAX = 6.0


@torch.no_grad()
def start_from_data(network: Network, histories: Histories, negatives: int, seed: int) -> None:
    """Set three biases in place: items by log frequency,
    membership by log repeat ratio, head by share of clicks.

    Hashed rows start as rare as the rarest item.
    """
    counts = histories.counts(network.items)
    frequency = torch.from_numpy(np.log(counts + 1.0)).float()
    network.item_bias.fill_(float(frequency.min() - frequency.mean()))
    network.item_bias[: network.items] = frequency - frequency.mean()
    network.membership.bias.copy_(
        repeat_bias(network.membership, histories, counts, np.random.default_rng(seed))
    )
    network.evidence.beta.fill_(-math.log(negatives))


def repeat_bias(
    membership: Membership, histories: Histories, counts: Longs, random: np.random.Generator
) -> torch.Tensor:
    """Per age bucket, the log of how often an item of that age comes again,
    over what popularity alone would say.
    """
    ages = repeat_ages(histories)
    targets = len(histories.items) - len(histories.users)
    observed = _by_bucket(membership, ages, np.ones(len(ages))) / max(targets, 1)
    expected = _chance(membership, histories, counts / counts.sum(), random)
    floor = 1.0 / max(targets, 1)
    ratio = np.log((observed + floor) / (expected + floor)).clip(-BIAS_MAX, BIAS_MAX)
    return torch.from_numpy(ratio).to(membership.bias)


def repeat_ages(histories: Histories) -> Longs:
    """Age of each repeated item when it comes again: 0 if it also was the event right before."""
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    order = np.lexsort((np.arange(len(users)), histories.items, users))
    same = (np.diff(users[order]) == 0) & (np.diff(histories.items[order]) == 0)
    return np.asarray(np.diff(order)[same] - 1)


def _chance(
    membership: Membership, histories: Histories, share: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Mean popularity, summed within each age bucket,
    of the distinct items behind a random position.
    """
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    places = np.flatnonzero(np.diff(users) == 0)  # those with a next event
    places = random.choice(places, SAMPLE) if len(places) else places
    ages = [np.zeros(0, np.int64)]
    weights = [np.zeros(0)]
    for place in places:
        start = max(int(histories.starts[users[place]]), int(place) + 1 - membership.reach)
        past = histories.items[start : place + 1][::-1]  # newest first
        items, age = np.unique(past, return_index=True)
        known = items < len(share)
        ages.append(age[known])
        weights.append(share[items[known]])
    return _by_bucket(membership, np.concatenate(ages), np.concatenate(weights)) / max(
        len(places), 1
    )


def _by_bucket(membership: Membership, ages: Longs, weights: np.ndarray) -> np.ndarray:
    """Sums (buckets - 1,) of weights by age bucket;
    the last bucket, older or never, has no bias.
    """
    bucket = membership.bucket(torch.from_numpy(ages)).numpy()
    return np.bincount(bucket, weights=weights, minlength=membership.buckets)[
        : membership.buckets - 1
    ]
