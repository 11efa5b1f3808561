"""How much of a head is kept."""

from __future__ import annotations

import pytest
import torch

from model.network.network import Network
from tests.training.logs import cyclic_log
from tests.training.quick_training import SHAPE
from training.data.sequences import Held, Histories, Vocabulary
from training.measure.evaluate import NetworkRanker, rank
from training.measure.strength import strength_of

LOG = cyclic_log(users=20, length=24)
VOCABULARY = Vocabulary.of(LOG, hashed=SHAPE.hashed_items)
HELD = Held.last(Histories.of(LOG, VOCABULARY))


def network_of(logit: float, head: float) -> Network:
    """A network that knows nothing but what its membership says of the item of 11 events ago, the
    next one on the circle; the head adds `head` for the same.
    """
    torch.manual_seed(0)
    network = Network(SHAPE, len(VOCABULARY.items)).eval()
    with torch.no_grad():
        network.embedding.item.weight.zero_()
        network.membership.bias.fill_(-3.0)
        network.membership.bias[4] = logit  # ages 8 to 15
        for part in (network.evidence.item, network.evidence.user, network.evidence.pair):
            for parameter in part.parameters():
                parameter.zero_()
        network.evidence.recency.weight.zero_()
        network.evidence.count.weight.zero_()
        network.evidence.often.weight.zero_()
        network.evidence.member.weight.zero_()
        network.evidence.member.weight[4] = 1.0
        network.evidence.out.fill_(head / SHAPE.head_width)
    return network


@pytest.mark.parametrize(("head", "expected"), [(3.0, 1.0), (-3.0, 0.0), (0.0, 0.0)])
def test_what_helps_stays_and_what_does_not_goes(head: float, expected: float) -> None:
    """A head that points at the next item is kept whole, one that points away is dropped,
    and so is one that says nothing.
    """
    network = network_of(-1.0, head)
    found = strength_of(network, HELD, 0)
    assert found == expected
    before = rank(NetworkRanker(network), HELD, network.items).summary()
    network.evidence.temper(found)
    assert rank(NetworkRanker(network), HELD, network.items).summary() == before


def test_tempering_moves_the_full_logit_towards_the_next_item_logit() -> None:
    """Half the strength is half the way, none is all of it."""
    torch.manual_seed(0)
    evidence = network_of(0.0, 2.0).evidence
    with torch.no_grad():
        evidence.alpha.fill_(1.4)
        evidence.beta.fill_(0.6)
    shapes = ((5, 32), (32,), (5, 32), (5, 32), (5,))
    rest = [torch.randn(shape) for shape in shapes]
    buckets = [torch.full((5,), 4), torch.zeros(5).long(), *[torch.zeros(()).long()] * 2]
    whole = evidence(*rest, *buckets)
    evidence.temper(0.5)
    torch.testing.assert_close(evidence(*rest, *buckets), (whole + rest[4]) / 2)
    evidence.temper(0.0)
    torch.testing.assert_close(evidence(*rest, *buckets), rest[4])
