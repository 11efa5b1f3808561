"""Vectors of items from what follows what, against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.logs import cyclic_log, make_log
from training.data import transitions
from training.data.sequences import Histories, Vocabulary
from training.data.transitions import pairs, transition_vectors


def histories(text: str) -> Histories:
    """`abc ad`: one user a word, one item a letter, rows in the order of the alphabet."""
    events = [
        (f"u{user}", item, 1 + place)
        for user, word in enumerate(text.split())
        for place, item in enumerate(word)
    ]
    names = tuple(sorted({item for _, item, _ in events}))
    return Histories.of(make_log(events), Vocabulary(items=names, actions=("click",), hashed=4))


def test_pairs_are_counted_in_both_orders_by_distance() -> None:
    """Within one history, up to three events apart; an item beside itself is no pair."""
    found = zip(*pairs(histories("abca aab dx"), 3), strict=True)
    assert {(int(i), int(j)): round(float(c), 6) for i, j, c in found} == {
        (0, 1): 1.5 + 1.5,
        (1, 0): 1.5 + 1.5,
        (0, 2): 1.5,
        (2, 0): 1.5,
        (1, 2): 1.0,
        (2, 1): 1.0,
    }


def test_products_of_vectors_are_the_information_where_nothing_is_cut_off() -> None:
    """All positive eigenvalues of the dense matrix, at unit length."""
    log = cyclic_log()
    vocabulary = Vocabulary.of(log, hashed=4)
    known = Histories.of(log, vocabulary)
    first, second, weight = pairs(known, 12)
    counts = np.zeros((12, 12))
    counts[first, second] = weight
    of_item = counts.sum(axis=0)
    with np.errstate(divide="ignore"):
        information = np.log(counts * counts.sum() / np.outer(of_item, of_item)).clip(min=0)
    values, vectors = np.linalg.eigh(information)
    exact = vectors * np.sqrt(values.clip(min=0))
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    found = transition_vectors(known, 12, 16, 0)
    assert found.shape == (12, 16)
    np.testing.assert_allclose(found @ found.mT, exact @ exact.T, atol=1e-3)


def test_items_that_stand_together_are_near() -> None:
    """Two circles that never meet; an item alone has no vector; equal seeds give equal bytes."""
    known = histories("abcabc bcabca defdef efdefd x")
    found = transition_vectors(known, 7, 4, 0)
    near = found @ found.mT
    assert near[0, 1] > 0.9
    assert abs(near[0, 3]) < 0.1
    assert not found[6].any()
    assert torch.equal(found, transition_vectors(known, 7, 4, 0))


def test_of_a_very_long_log_some_users_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second one where it is twice too long."""
    monkeypatch.setattr(transitions, "EVENTS_MAX", 5)
    _, _, weight = pairs(histories("ab ac ab ac ab"), 3)
    assert weight.tolist() == [3.0, 3.0]
