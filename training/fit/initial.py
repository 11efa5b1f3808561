"""Starting values that the data already tell, so that no training time is spent on finding them.

Item vectors start from a factorisation of which items follow each other, where a recipe says so.
Biases move by about the learning rate a step, so a bias of 5 would take thousands of steps to
arrive.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from model.arrays import Doubles, Longs
from model.network.membership import Membership
from model.network.network import Network
from training.data.sequences import Histories
from training.data.transitions import transition_vectors

SAMPLE = 2000  # histories looked at to learn what chance would repeat
ASKED = 200_000  # events looked at to learn what does
ROUNDS = 20  # of expectation maximisation
BIAS_MAX = 6.0
UNKNOWN = 0.1  # length of the random vectors beside known ones


@torch.no_grad()
def start_from_data(network: Network, histories: Histories, seed: int) -> None:
    """Set two biases in place: items by log frequency, membership by log repeat ratio.

    Hashed rows start as rare as the rarest item. The head starts as the next-item logit, to which
    its own part adds nothing yet.
    """
    counts = histories.counts(network.items)
    frequency = torch.from_numpy(np.log(counts + 1.0)).float()
    network.item_bias.fill_(float(frequency.min() - frequency.mean()))
    network.item_bias[: network.items] = frequency - frequency.mean()
    network.membership.bias.copy_(
        repeat_bias(network.membership, histories, counts, np.random.default_rng(seed))
    )


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


def repeat_bias(
    membership: Membership, histories: Histories, counts: Longs, random: np.random.Generator
) -> torch.Tensor:
    """Per age bucket, the log of how often an item comes again because it was there at that age,
    over what popularity alone would say.

    An item that was there several times comes again because of each of them, by the share of its
    vote. The votes at which these shares agree with themselves are found by expectation
    maximisation, from equal ones.
    """
    before = occurrences(membership, histories, random)  # (n, buckets - 1)
    targets = max(len(histories.items) - len(histories.users), 1)
    asked = max(min(targets, ASKED), 1)
    expected = _chance(membership, histories, counts / counts.sum(), random)
    floor = 1.0 / targets
    votes = np.ones(membership.buckets - 1)
    for _ in range(ROUNDS):
        observed = (before * votes / (before @ votes)[:, None]).sum(axis=0) / asked
        votes = (observed + floor) / (expected + floor)
        votes = votes.clip(math.exp(-BIAS_MAX), math.exp(BIAS_MAX))
    return torch.from_numpy(np.log(votes)).to(membership.bias)


def occurrences(
    membership: Membership, histories: Histories, random: np.random.Generator
) -> Doubles:
    """Of the repeats in reach among at most ASKED random events that have one before,
    the earlier occurrences of the item by age bucket, (n, buckets - 1).
    """
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    order = np.lexsort((np.arange(len(users)), histories.items, users))
    fresh = np.concatenate(
        [[True], (np.diff(users[order]) != 0) | (np.diff(histories.items[order]) != 0)]
    )
    nth = np.arange(len(order)) - np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    place = np.flatnonzero(order > histories.starts[users[order]])  # those with one before
    if len(place) > ASKED:
        place = random.choice(place, ASKED, replace=False)
    place = place[nth[place] > 0]
    row = np.arange(len(place))
    found = np.zeros((len(place), membership.buckets))
    for back in range(1, membership.reach + 1):
        row = row[nth[place[row]] >= back]
        age = order[place[row]] - order[place[row] - back] - 1
        row = row[age < membership.reach]
        if not len(row):
            break
        bucket = membership.bucket(torch.from_numpy(age[age < membership.reach])).numpy()
        found[row, bucket] += 1
    found = found[:, :-1]
    return np.asarray(found[found.any(axis=1)])


def _chance(
    membership: Membership, histories: Histories, share: Doubles, random: np.random.Generator
) -> Doubles:
    """Mean popularity, summed within each age bucket, of the items behind a random position."""
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    places = np.flatnonzero(np.diff(users) == 0)  # those with a next event
    places = random.choice(places, SAMPLE) if len(places) else places
    total = np.zeros(membership.buckets - 1)
    for place in places:
        start = max(int(histories.starts[users[place]]), int(place) + 1 - membership.reach)
        past = histories.items[start : place + 1][::-1]  # newest first
        known = past < len(share)
        bucket = membership.bucket(torch.from_numpy(np.flatnonzero(known))).numpy()
        total += np.bincount(bucket, weights=share[past[known]], minlength=len(total))
    return total / max(len(places), 1)
