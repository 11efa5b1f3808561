"""Starting values taken from the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.network.network import Network
from tests.training.logs import make_log
from training.data.sequences import Histories, Vocabulary
from training.fit.initial import (
    UNKNOWN,
    pasts,
    start_from_data,
    start_from_transitions,
    start_membership,
)


def network_of(items: int) -> Network:
    """A small untrained network."""
    torch.manual_seed(0)
    return Network(ModelConfig(width=32, expand=2, heads=4, hashed_items=8), items)


def histories_of(rows: list[str]) -> Histories:
    """One user a string, one event a letter."""
    events = [(str(user), item, at) for user, row in enumerate(rows) for at, item in enumerate(row)]
    log = make_log(events)
    return Histories.of(log, Vocabulary.of(log, hashed=8))


def weights_of(histories: Histories, items: int) -> torch.Tensor:
    """Starting weights by age."""
    membership = network_of(items).membership
    with torch.no_grad():
        start_membership(membership, histories, histories.counts(items), np.random.default_rng(0))
    return membership.bias.detach()


def test_pasts_by_hand() -> None:
    """In `abaa` each event but the first looks back at a and b, by age; `ab` has one such event."""
    membership = network_of(2).membership
    histories = histories_of(["abaa", "ab"])
    found = pasts(membership, histories, histories.counts(2), np.random.default_rng(0))
    assert found is not None
    seen = zip(found.row.tolist(), found.ages[:, :3].tolist(), found.wanted.tolist(), strict=True)
    newest = [1, 0, 0]
    assert list(seen) == [
        (0, newest, False),
        (1, [0, 1, 0], True),
        (1, newest, False),
        (2, [1, 0, 1], True),
        (2, [0, 1, 0], False),
        (3, newest, False),
    ]
    assert found.events == 4
    torch.testing.assert_close(found.share[:3], torch.tensor([4 / 6, 4 / 6, 2 / 6]))


def test_membership_suppresses_where_nothing_repeats_and_promotes_where_it_does() -> None:
    """Walks without repeats start far below 0, users who alternate start above 0 at that age."""
    random = np.random.default_rng(0)
    letters = [chr(97 + number) for number in range(20)]
    walks = ["".join(random.permutation(letters)) for _ in range(30)]
    bias = weights_of(histories_of(walks), 20)
    assert (bias[:4] < -2).all()
    pairs = ["".join(random.choice(letters, 2, replace=False)) * 10 for _ in range(30)]
    bias = weights_of(histories_of(pairs), 20)
    assert bias[0] < -2  # never twice running
    assert bias[1] > 1  # always the one before


def test_an_untrained_network_starts_as_popular_as_the_data() -> None:
    """Item biases differ as log counts do,
    have mean 0 over the catalogue, and rare rows start lowest.
    """
    histories = histories_of(["abac", "aab", "a"])
    network = network_of(3)
    start_from_data(network, histories, seed=0)
    bias = network.item_bias.tolist()
    assert bias[0] - bias[2] == pytest.approx(np.log(6 / 2), abs=1e-5)
    assert sum(bias[:3]) == pytest.approx(0, abs=1e-5)
    assert max(bias[3:]) == pytest.approx(bias[2])


def test_who_comes_back_by_count_is_foretold_as_by_counting() -> None:
    """Where the share of an item in the history alone says whether it comes again,
    the starting weights do as well as any that give each occurrence the same vote.
    """
    random = np.random.default_rng(0)
    rows = []
    for _ in range(60):
        row = list(random.choice([chr(97 + n) for n in range(20)], 4, replace=False))
        for _ in range(60):
            row.append(random.choice(row))  # each occurrence draws alike
        rows.append("".join(row))
    histories = histories_of(rows)
    counts = histories.counts(20)
    membership = network_of(20).membership
    behind = pasts(membership, histories, counts, np.random.default_rng(0))
    assert behind is not None
    with torch.no_grad():
        start_membership(membership, histories, counts, np.random.default_rng(0))
        started = behind.loss(membership).item()
        alike = []
        for vote in np.linspace(-2, 8, 41):
            membership.bias.fill_(vote)
            alike.append(behind.loss(membership).item())
    assert started < min(alike) + 0.03 < alike[8] - 0.3  # there: votes of 1


def test_histories_without_a_past_leave_membership_at_zero() -> None:
    """One event a user says nothing of what comes again."""
    bias = weights_of(histories_of(["a", "b"]), 2)
    assert not bias.any()


def test_item_vectors_start_from_what_follows_what() -> None:
    """Three times as long as random ones and near where items stand together; an item alone keeps
    its direction and is short; hashed rows are left alone; a length of 0 changes nothing.
    """
    histories = histories_of(["abcabc", "bcabca", "defdef", "efdefd", "x"])
    network = network_of(7)
    before = network.embedding.item.weight.detach().clone()
    start_from_transitions(network, histories, 0.0, seed=0)
    assert torch.equal(network.embedding.item.weight, before)
    start_from_transitions(network, histories, 3.0, seed=0)
    after = network.embedding.item.weight.detach()
    torch.testing.assert_close(after[:6].norm(dim=1), (3 * before.norm(dim=1).mean()).expand(6))
    near = torch.nn.functional.normalize(after[:6]) @ torch.nn.functional.normalize(after[:6]).mT
    rows = [histories.items[at] for at in (0, 1, 12)]  # a, b and d
    assert near[rows[0], rows[1]] > 0.9 > 0.1 > abs(near[rows[0], rows[2]])
    torch.testing.assert_close(after[6], before[6] * UNKNOWN)
    assert torch.equal(after[7:], before[7:])
