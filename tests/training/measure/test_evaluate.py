"""Ranking and click evaluation against brute force and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.accuracy.baselines.next_item.popularity import Popularity
from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.network import Network
from tests.training.logs import cyclic_log, make_log
from training.data.sequences import Held, Histories, Vocabulary, Windows, pad
from training.errors import TrainingError
from training.measure.evaluate import (
    NetworkRanker,
    affordable,
    clicks,
    next_item_logits_at,
    rank,
)
from training.measure.ranking import UNLISTED
from training.measure.targets import NegativeSampler, labelled, random_positions


def small_network(items: int, seed: int = 0) -> Network:
    """An untrained network whose membership biases matter."""
    torch.manual_seed(seed)
    network = Network(
        ModelConfig(width=32, expand=2, heads=4, head_width=16, hashed_items=8), items
    )
    torch.nn.init.normal_(network.membership.bias)
    torch.nn.init.normal_(network.membership.often)
    torch.nn.init.normal_(network.evidence.out)
    return network.eval()


class Fixed:
    """Scores that are given, whatever the history."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = torch.tensor(scores)

    def logits_at(self, events: Sequences, row: Tensor, at: Tensor) -> Tensor:
        """The same row for each question."""
        return self.scores.repeat(len(at), 1)


def test_plain_and_excluded_ranks_by_hand() -> None:
    """Already-seen items leave the second ranking,
    a repeated target is a miss there, and ties count against it.
    """
    log = make_log(
        [("u", "a", 0), ("u", "b", 1), ("u", "c", 2), ("v", "a", 0), ("v", "b", 1), ("v", "a", 2)]
    )
    vocabulary = Vocabulary.of(log, hashed=4)
    assert vocabulary.items == ("a", "b", "c")
    held = Held.last(Histories.of(log, vocabulary))
    ranking = rank(Fixed([3.0, 2.0, 1.0]), held, 3)
    assert (ranking.plain.tolist(), ranking.excluded.tolist()) == ([3, 1], [1, UNLISTED])
    assert rank(Fixed([1.0, 1.0, 1.0]), held, 3).plain.tolist() == [3, 3]
    summary = ranking.summary(k=1)
    assert (summary["hr1"], summary["hr1_excluded"], summary["mrr1"]) == (0.5, 0.5, 0.5)
    intervals = ranking.intervals(k=1)
    assert intervals["hr1_low"] <= 0.5 <= intervals["hr1_high"]
    assert (intervals["ndcg1_excluded_low"], intervals["ndcg1_excluded_high"]) == (0.0, 1.0)


def test_targets_outside_the_catalogue_are_not_ranked() -> None:
    """A rare item cannot be a target; if nothing else is held out, the message says so."""
    log = make_log([("u", "a", 0), ("u", "a", 1), ("u", "rare", 2)])
    held = Held.last(Histories.of(log, Vocabulary.of(log, hashed=4, events_min=2)))
    with pytest.raises(TrainingError, match="no held-out event"):
        rank(Fixed([1.0]), held, 1)


def test_popularity_ranks_by_count() -> None:
    """The most frequent item comes first for everybody."""
    log = make_log([("u", "b", 0), ("u", "a", 1), ("v", "b", 0), ("v", "b", 1)])
    vocabulary = Vocabulary.of(log, hashed=4)
    histories = Histories.of(log, vocabulary)
    assert rank(Popularity(histories.counts(2)), Held.last(histories), 2).plain.tolist() == [2, 1]


def test_logits_at_positions_equal_the_whole_pass() -> None:
    """Scoring a few positions gives what the network's own whole-history logits give there."""
    histories = Histories.of(cyclic_log(), Vocabulary.of(cyclic_log(), hashed=8, events_min=2))
    network = small_network(12)
    batch = pad(
        histories, Windows(histories.starts[:3], histories.starts[1:4] - np.array([0, 3, 5]))
    )
    at = torch.from_numpy(random_positions(batch, 4, np.random.default_rng(0)))
    with torch.inference_mode():
        encoding = network.encode(batch.events)
        whole = network.next_item_logits(encoding, batch.events)
        row = torch.arange(3).repeat_interleave(4)
        some = next_item_logits_at(network, encoding, batch.events.items, row, at.flatten())
    torch.testing.assert_close(some, whole[row, at.flatten()])


def test_time_split_ranks_equal_one_by_one() -> None:
    """Many held-out events of a user in one pass rank as if each were
    asked alone after its own history.
    """
    log = cyclic_log(users=6)
    histories = Histories.of(log, Vocabulary.of(log, hashed=8))
    ranker = NetworkRanker(small_network(12))
    held = Held.since(histories, int(np.quantile(log.times_ms, 0.6)))
    together = rank(ranker, held, 12)
    alone = []
    for user, tail in enumerate(held.tails):
        for target in range(histories.starts[user + 1] - tail, histories.starts[user + 1]):
            window = Windows(histories.starts[user : user + 1], np.array([target]))
            events = pad(histories, window).events
            newest = torch.tensor([events.items.shape[1] - 1])
            scores = ranker.logits_at(events, torch.tensor([0]), newest)[0]
            alone.append(int((scores >= scores[histories.items[target]]).sum()))
    assert sorted(together.plain.tolist()) == sorted(alone)


def test_context_limits_what_is_seen() -> None:
    """With one event of context only the last event before the target matters."""
    log = make_log(
        [("u", "a", 0), ("u", "b", 1), ("u", "c", 2), ("v", "c", 0), ("v", "b", 1), ("v", "c", 2)]
    )
    held = Held.last(Histories.of(log, Vocabulary.of(log, hashed=4)))
    plain = rank(NetworkRanker(small_network(3)), held, 3, context=1).plain
    assert plain[0] == plain[1]


def test_sampled_clicks_have_one_positive_among_unseen_items() -> None:
    """Without a share of repeats, no negative is the target or was had
    before; labels mark the target.
    """
    histories = Histories.of(cyclic_log(length=6), Vocabulary.of(cyclic_log(length=6), hashed=8))
    sampler = NegativeSampler(histories, 12, seen=0.0)
    batch = pad(histories, Windows(histories.starts[:-1], histories.starts[1:]))
    at = random_positions(batch, 3, np.random.default_rng(1))
    drawn = sampler.draw(batch.begins, at, 3, np.random.default_rng(2))
    assert drawn.labels.sum() == drawn.labels[..., 0].numel()
    assert drawn.valid.all()
    for user in range(len(at)):
        for place, position in enumerate(at[user]):
            past = histories.items[histories.starts[user] : histories.starts[user] + position + 2]
            assert drawn.candidates[user, place, 0] == past[-1]
            assert (
                drawn.now_ms[user, place]
                == histories.times_ms[histories.starts[user] + position + 1]
            )
            assert not set(past.tolist()) & set(drawn.candidates[user, place, 1:].tolist())


def test_repeats_are_drawn_from_the_past_on_request() -> None:
    """With a share of 1 every negative was had before,
    except where it would be the target itself.
    """
    histories = Histories.of(cyclic_log(length=6), Vocabulary.of(cyclic_log(length=6), hashed=8))
    batch = pad(histories, Windows(histories.starts[:1], histories.starts[1:2]))
    drawn = NegativeSampler(histories, 12, seen=1.0).draw(
        batch.begins, np.array([[4]]), 20, np.random.default_rng(0)
    )
    assert set(drawn.candidates[0, 0, 1:].tolist()) <= set(histories.items[:5].tolist())


def test_clicks_by_labels_see_only_what_came_before() -> None:
    """Labelled impressions carry their own labels,
    and a changed later event leaves earlier logits alone.
    """
    log = cyclic_log(users=4)
    vocabulary = Vocabulary.of(log, hashed=8)
    histories = Histories.of(log, vocabulary)
    labels = np.arange(len(histories.items)) % 2 == 0
    network = small_network(12)
    held = Held(histories, np.full(4, 3))
    found = clicks(network, held, labels=labels)
    assert len(found.labels) == 12
    last = histories.starts[1:] - 1
    changed = Held(
        Histories(
            users=histories.users,
            items=np.where(np.isin(np.arange(len(labels)), last), 0, histories.items),
            actions=histories.actions,
            times_ms=histories.times_ms,
            starts=histories.starts,
        ),
        held.tails,
    )
    again = clicks(network, changed, labels=labels)
    assert found.labels.tolist() == again.labels.tolist()
    np.testing.assert_allclose(
        found.logits.reshape(4, 3)[:, :2], again.logits.reshape(4, 3)[:, :2], rtol=1e-5
    )
    batch = pad(histories, Windows(histories.starts[:1], histories.starts[1:2]))
    asked = labelled(histories, batch.begins, np.array([[2, 5]]), labels)
    assert asked.labels[0, :, 0].tolist() == [labels[3], labels[6]]


def test_clicks_need_exactly_one_source_of_labels() -> None:
    """Neither or both of sampler and labels is a mistake of the caller."""
    histories = Histories.of(cyclic_log(), Vocabulary.of(cyclic_log(), hashed=8))
    with pytest.raises(ValueError, match="either a sampler"):
        clicks(small_network(12), Held.last(histories))


def test_a_large_catalogue_is_ranked_for_some_users_only() -> None:
    """As many whole users as the scores allow, the same ones each time; all where they allow it."""
    log = cyclic_log()
    vocabulary = Vocabulary.of(log, hashed=8)
    held = Held.newest(Histories.of(log, vocabulary), 3)
    assert affordable(held, 12, scores_max=12 * int(held.tails.sum())) is held
    some = affordable(held, 12, scores_max=12 * 31)
    assert some.tails.sum() == 30
    assert set(some.tails.tolist()) == {0, 3}
    np.testing.assert_array_equal(some.tails, affordable(held, 12, scores_max=12 * 31).tails)
    assert affordable(held, 12, scores_max=1).tails.sum() == 3
    assert len(rank(Popularity(np.arange(12)), some, 12).plain) == 30
