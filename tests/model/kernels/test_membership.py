"""What a state says of items: how long ago, how often, and what that adds."""

from __future__ import annotations

import numpy as np
import torch

from model.config import ModelConfig
from model.kernels.scorer import look_up
from model.network.membership import Membership

RING = 4
CONFIG = ModelConfig(ring_length=RING, tail_length=16)


def test_look_up_equals_the_network_over_ring_and_tail() -> None:
    """Few items, seen many times: age, number and bias of each are those of the whole history,
    as far as it is in reach.
    """
    torch.manual_seed(0)
    membership = Membership(CONFIG)
    torch.nn.init.normal_(membership.bias)
    torch.nn.init.normal_(membership.often)
    often = np.concatenate([[0], membership.often.detach().numpy()]).astype(np.float32)
    random = np.random.default_rng(0)
    votes = membership.votes_of(torch.tensor([0, 1, 2, 4, 8, 16, -1])).detach().numpy()
    for length in (1, 3, 4, 5, 17, 20, 40):
        items = random.integers(0, 9, length)
        newest = items[::-1].copy()
        tail = newest[RING : RING + CONFIG.tail_length].astype(np.uint16)
        asked = np.arange(12)
        found = look_up(asked, newest[:RING], tail, RING, votes, often)
        with torch.no_grad():
            expected = membership.find(
                torch.from_numpy(items)[None],
                torch.tensor([[length - 1]]),
                torch.from_numpy(asked)[None, None],
            )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other[0, 0].numpy(), rtol=1e-5)


def test_in_the_ring_an_item_is_known_by_its_row_and_in_the_tail_by_its_fingerprint() -> None:
    """Row 65,541 shares the fingerprint of row 5: the tail takes one for the other,
    the ring does not.
    """
    votes = np.exp(np.arange(6, dtype=np.float32))
    often = np.array([0, 0, 10], dtype=np.float32)
    asked = np.array([5, 65_541, 6])
    ring = np.array([5, 7])
    age, number, bias = look_up(asked, ring, np.zeros(0, np.uint16), 2, votes, often)
    assert (age.tolist(), number.tolist(), bias.tolist()) == ([0, 5, 5], [1, 0, 0], [0, 0, 0])
    age, number, bias = look_up(asked, ring, np.array([9, 5], np.uint16), 2, votes, often)
    assert (age.tolist(), number.tolist()) == ([0, 2, 5], [2, 1, 0])
    np.testing.assert_allclose(bias, [np.log(1 + np.exp(2)) + 10, 2, 0], rtol=1e-6)
