"""Ranks from shipped states: all users at once equal one user and one event at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xxhash

from bench.accuracy.states.served_ranks import rank_served
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.absorb import absorb, absorb_head
from model.network.export import random_bundle
from model.network.network import Network
from model.state import zeros
from tests.training.logs import cyclic_log, make_log
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import TrainingError
from training.measure import metrics
from training.measure.evaluate import NetworkRanker, rank
from training.measure.ranking import UNLISTED
from training.measure.served import LISTED, rank_targets

SHAPE = ModelConfig(
    width=32, expand=2, heads=4, state_size=4, head_width=16, ring_length=8, tail_length=16, slots=4
)


def listed(scores: np.ndarray, item: int) -> int:
    """Rank of an item among the first ten by scores, equal ones by row."""
    best = np.lexsort((np.arange(len(scores)), -scores))[:LISTED].tolist()
    return best.index(item) + 1 if item in best and np.isfinite(scores[item]) else UNLISTED


def slowly(bundle: Bundle, held: Held) -> list[tuple[int, int]]:
    """(plain, excluded) rank of each held-out event, user by user and event by event."""
    found = []
    histories = held.histories
    items = len(bundle.items)
    for user, tail in enumerate(held.tails):
        key = np.array([xxhash.xxh64_intdigest(histories.users[user].encode())], dtype=np.uint64)
        start = histories.starts[user]
        stop = histories.starts[user + 1]
        row = zeros(bundle.config, 1)
        for place in range(start, stop):
            target = histories.items[place]
            if place >= stop - tail and target < items:
                scores = bundle.next_item(row[0]).copy()
                plain = listed(scores, target)
                seen = histories.items[start:place]
                scores[seen[seen < items]] = -np.inf
                found.append((plain, listed(scores, target)))
            one = slice(place, place + 1)
            action = histories.actions[one].astype(np.uint8)
            bundle.fold(
                row,
                np.zeros(1, int),
                key,
                histories.items[one],
                action,
                histories.times_ms[one],
                np.array([place]),
            )
    return found


@pytest.mark.parametrize("tails", [1, 4])
def test_all_users_at_once_equal_one_event_at_a_time(tails: int) -> None:
    """Plain and excluded ranks are the same, for one held-out event a user and for several."""
    vocabulary = Vocabulary.of(cyclic_log(), hashed=64)
    histories = Histories.of(cyclic_log(length=14), vocabulary)
    held = Held(histories, np.where(np.arange(40) % 7 == 3, 0, tails))
    bundle = random_bundle(SHAPE, vocabulary.items)
    ranking = rank_served(bundle, held)
    pairs = zip(ranking.plain.tolist(), ranking.excluded.tolist(), strict=True)
    assert sorted(pairs) == sorted(slowly(bundle, held))
    again = rank_targets(bundle, histories, held.targets(len(bundle.items)))
    assert list(zip(again.plain.tolist(), again.excluded.tolist(), strict=True)) == slowly(
        bundle, held
    )


def test_float_states_rank_as_the_network_does() -> None:
    """With float32 states, and histories within the reach of membership,
    served ranks are the network's own.
    """
    torch.manual_seed(3)
    vocabulary = Vocabulary.of(cyclic_log(), hashed=64)
    config = ModelConfig.from_json(SHAPE.to_json().replace("int8", "float32"))
    network = Network(config, 12).eval()
    torch.nn.init.normal_(network.membership.bias)
    score = absorb_head(network, np.ones(12), np.array([[1.0, 0.0]] * 3))
    bundle = Bundle(
        version="x", config=config, items=vocabulary.items, fold=absorb(network), score=score
    )
    held = Held.last(Histories.of(cyclic_log(), vocabulary))
    served = rank_served(bundle, held)
    trained = rank(NetworkRanker(network), held, 12)
    for shown, whole in ((served.plain, trained.plain), (served.excluded, trained.excluded)):
        assert sorted(shown.tolist()) == sorted(np.where(whole > LISTED, UNLISTED, whole).tolist())
    assert metrics.ndcg(served.plain, 10).mean() == metrics.ndcg(trained.plain, 10).mean()


def test_nothing_to_rank_is_named() -> None:
    """Users with one event each have nothing held out, and the message says so."""
    log = make_log([("u", "a", 0), ("v", "b", 1)])
    vocabulary = Vocabulary.of(log, hashed=64)
    with pytest.raises(TrainingError, match="no held-out event"):
        rank_served(
            random_bundle(SHAPE, vocabulary.items), Held.last(Histories.of(log, vocabulary))
        )


def test_a_user_without_events_is_refused() -> None:
    """Logits need a state; the message names what to ask for instead."""
    bundle = random_bundle(SHAPE, ("a", "b"))
    with pytest.raises(ValueError, match="PRIOR"):
        bundle.next_item(zeros(SHAPE, 1)[0])
