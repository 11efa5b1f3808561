"""The study of what must be remembered of a history."""

from __future__ import annotations

import numpy as np
import torch

from bench.accuracy.states.memories import ALL, Filter, Memory, known_to, measure, memories
from model.config import ModelConfig
from model.network.network import Network
from tests.training.logs import cyclic_log
from training.data.sequences import Held, Histories, Vocabulary
from training.measure.evaluate import NetworkRanker, rank

VOTES = np.exp(np.array([1, 2, 3, 4], dtype=np.float32))


def bias_of(*asked: object) -> np.ndarray:
    """Log of the votes that a memory knows of, 0 where there are none."""
    votes, number = known_to(*asked)  # type: ignore[arg-type]
    assert ((votes > 0) == (number > 0)).all()
    return np.log(votes, out=np.zeros_like(votes), where=votes > 0)


def test_a_memory_knows_the_newest_events_and_their_ages() -> None:
    """Item 5 was last seen 0 events ago, 2 one ago and two ago, 7 three ago:
    beyond a memory of two.
    """
    added = bias_of(Memory("two", 0, 2), None, np.array([7, 2, 2, 5]), VOTES, 9)
    np.testing.assert_allclose(added, [0, 0, 2, 0, 0, 1, 0, 0, 0], rtol=1e-6)
    both = bias_of(Memory("all", 0, ALL), None, np.array([7, 2, 2, 5]), VOTES, 9)
    np.testing.assert_allclose(both[[2, 7]], [np.log(VOTES[1] + VOTES[2]), 4], rtol=1e-6)
    # older than any bias
    old = bias_of(Memory("all", 0, ALL), None, np.array([7, 1, 1, 1, 1, 1]), VOTES, 9)[7]
    assert old == np.log(VOTES[3])


def test_a_filter_forgets_nothing_and_errs_on_the_safe_side() -> None:
    """What left the exact part is always found; a filter of one bit takes everything for seen."""
    history = np.arange(40)
    added = bias_of(Memory("", 0, 8, 512), Filter(60, 512, 2), history, VOTES, 60)
    of_age = np.log(VOTES)
    assert (added[:32] == of_age[3]).all()
    twice = added[32:40] != of_age[[3, 3, 3, 3, 3, 2, 1, 0]]  # of the newest, taken for older too
    assert twice.mean() < 0.3
    assert (added[40:] == 0).mean() > 0.8
    alone = bias_of(Memory("", 0, 1, 1), Filter(60, 1, 1), history, VOTES, 60)
    assert (alone[40:] == of_age[3]).all()


def test_the_shipped_memory_ranks_as_the_network_does() -> None:
    """What the study calls ring and 512 fingerprints is what the network itself knows."""
    log = cyclic_log()
    vocabulary = Vocabulary.of(log, hashed=4)
    held = Held.last(Histories.of(log, vocabulary))
    torch.manual_seed(0)
    network = Network(ModelConfig(hashed_items=4), len(vocabulary.items)).eval()
    torch.nn.init.normal_(network.membership.bias)
    torch.nn.init.normal_(network.membership.often)
    shipped = next(memory for memory in memories() if memory.name == "ring, 512 fingerprints")
    none, found = measure(network, held, [next(memories()), shipped])
    expected = rank(NetworkRanker(network), held, network.items)
    assert found.plain.tolist() == expected.plain.tolist()
    assert none.plain.tolist() != expected.plain.tolist()
