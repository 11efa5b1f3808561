"""Starting values taken from the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.network.network import Network
from tests.training.logs import make_log
from training.data.sequences import Histories, Vocabulary
from training.fit.initial import repeat_ages, repeat_bias, start_from_data


def network_of(items: int) -> Network:
    """A small untrained network."""
    torch.manual_seed(0)
    return Network(ModelConfig(width=32, expand=2, heads=4, hashed_items=8), items)


def histories_of(rows: list[str]) -> Histories:
    """One user a string, one event a letter."""
    events = [(str(user), item, at) for user, row in enumerate(rows) for at, item in enumerate(row)]
    log = make_log(events)
    return Histories.of(log, Vocabulary.of(log, hashed=8))


def test_repeat_ages_by_hand() -> None:
    """In `abaa`, a comes again after one other event (age 1) and then at once (age 0)."""
    assert sorted(repeat_ages(histories_of(["abaa", "ab"])).tolist()) == [0, 1]


def test_membership_suppresses_where_nothing_repeats_and_promotes_where_it_does() -> None:
    """Walks without repeats start far below 0, users who alternate start above 0 at that age."""
    random = np.random.default_rng(0)
    letters = [chr(97 + number) for number in range(20)]
    walks = ["".join(random.permutation(letters)) for _ in range(30)]
    membership = network_of(20).membership
    assert (
        repeat_bias(membership, histories_of(walks), histories_of(walks).counts(20), random)[:4]
        < -2
    ).all()
    pairs = ["".join(random.choice(letters, 2, replace=False)) * 10 for _ in range(30)]
    histories = histories_of(pairs)
    bias = repeat_bias(membership, histories, histories.counts(20), random)
    assert bias[0] < -2  # never twice running
    assert bias[1] > 1  # always the one before


def test_an_untrained_network_starts_as_popular_as_the_data() -> None:
    """Item biases differ as log counts do,
    have mean 0 over the catalogue, and rare rows start lowest.
    """
    histories = histories_of(["abac", "aab", "a"])
    network = network_of(3)
    start_from_data(network, histories, negatives=15, seed=0)
    bias = network.item_bias.tolist()
    assert bias[0] - bias[2] == pytest.approx(np.log(6 / 2), abs=1e-5)
    assert sum(bias[:3]) == pytest.approx(0, abs=1e-5)
    assert max(bias[3:]) == pytest.approx(bias[2])
