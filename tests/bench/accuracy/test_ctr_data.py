"""Impressions, their histories and the split, against a log small enough to do by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bench.accuracy.ctr.data import SPAN_MAX, CtrProtocol, Impressions, batches, impressions, rows
from bench.accuracy.ctr.genres import parse_items
from tests.training.logs import make_log
from training.data.public.movielens import parse_inter
from training.errors import DatasetError

PROTOCOL = CtrProtocol(history_min=2, length=3, test_share=0.25, validation_share=0.3)

# User a: times 1, 2, 2, 3, 4, 5. Events 3 and 4 (at 2) share a time; b is short and c comes late.
EVENTS = [
    ("a", "p", 1_000),
    ("b", "p", 1_500),
    ("a", "q", 2_000),
    ("a", "r", 2_000),
    ("a", "s", 3_000),
    ("a", "t", 4_000),
    ("a", "u", 5_000),
    ("c", "p", 6_000),
    ("c", "v", 7_000),
    ("c", "q", 8_000),
]
RATINGS = [5.0, 1.0, 4.0, 3.0, 2.0, 5.0, 1.0, 4.0, 4.0, 3.0]


def _impressions(protocol: CtrProtocol = PROTOCOL) -> Impressions:
    log = make_log(EVENTS, RATINGS)
    return impressions(
        log, protocol, gap_buckets=8, hashed=4, categories={"p": "x", "q": "y", "r": "x"}
    )


def test_histories_hold_what_came_strictly_before() -> None:
    """Both events at 2 s see only the one at 1 s, whichever the source lists first;
    the one at 3 s sees all three.
    """
    data = _impressions()
    assert (data.ends - data.starts).tolist() == [
        0,
        1,
        1,
        3,
        4,
        5,
        0,
        0,
        1,
        2,
    ]  # a's six events, b's one, c's three
    assert data.times_ms.tolist() == [1000, 2000, 2000, 3000, 4000, 5000, 1500, 6000, 7000, 8000]


def test_labels_categories_and_ratings_as_actions() -> None:
    """Ratings from 4 on are positive, events carry their rating,
    items without a category have number 0.
    """
    data = _impressions()
    assert data.labels[:4].tolist() == [True, True, False, False]
    assert data.categories.tolist() == [1, 2, 1, 0, 0, 0, 1, 1, 0, 2]
    assert [data.vocabulary.actions[action] for action in data.actions[:2]] == ["5", "4"]
    lenient = _impressions(dataclasses.replace(PROTOCOL, label_from=3.0))
    assert lenient.labels[:4].tolist() == [True, True, True, False]


def test_the_split_is_by_time_over_all_users() -> None:
    """Four impressions have two earlier events: the last in time tests,
    the one before chooses, the rest train.
    """
    data = _impressions()
    assert data.eligible == 4
    assert (data.training.tolist(), data.validation.tolist(), data.test.tolist()) == (
        [3, 4],
        [5],
        [9],
    )
    assert data.times_split_ms == (5_000, 8_000)
    assert data.counts()["test_users_without_training"] == 1


def test_the_vocabulary_knows_nothing_of_later_events() -> None:
    """Items first seen at or after the validation part's begin have hashed rows."""
    data = _impressions()
    assert set(data.vocabulary.items) == {"p", "q", "r", "s", "t"}
    assert data.items[5] >= 5
    assert data.items[8] >= 5


def test_rows_hold_each_impressions_last_events() -> None:
    """Impressions of one user share a row; each sees its own last three events of it."""
    data = _impressions()
    asked = np.array([3, 4, 5, 9])
    (batch,) = batches(data, rows(data, asked, length=3, per_row=16), length=3, tokens=1_000)
    at = {
        int(position): (b, q)
        for (b, q), position in np.ndenumerate(batch.positions)
        if batch.valid[b, q]
    }
    seen = {
        position: batch.times_ms[b, batch.begins[b, q] : batch.ends[b, q]].tolist()
        for position, (b, q) in at.items()
    }
    assert seen == {
        3: [1000, 2000, 2000],
        4: [2000, 2000, 3000],
        5: [2000, 3000, 4000],
        9: [6000, 7000],
    }
    assert batch.valid.sum() == 4
    assert batch.labels[at[4]]
    assert batch.candidate_categories[at[9]] == 2


def test_rows_end_where_the_next_impression_is_far() -> None:
    """Two impressions of one user more than SPAN_MAX events apart do not share
    a row; nor do more than `per_row`.
    """
    log = make_log(
        [("a", "p", 1_000 * step) for step in range(2 * SPAN_MAX)], [4.0, 1.0] * SPAN_MAX
    )
    data = impressions(log, PROTOCOL, gap_buckets=8, hashed=4)
    far = rows(data, np.array([2, 3, 4 + SPAN_MAX]), length=3, per_row=16)
    assert far.cuts.tolist() == [0, 2, 3]
    assert (far.begins.tolist(), far.ends.tolist()) == ([0, 1 + SPAN_MAX], [3, 4 + SPAN_MAX])
    assert rows(data, np.arange(2, 7), length=3, per_row=2).cuts.tolist() == [0, 2, 4, 5]


def test_every_impression_is_asked_once_an_epoch() -> None:
    """Random cuts and orders lose none and repeat none."""
    log = make_log(
        [(f"u{user}", "p", 1_000 * step) for user in range(3) for step in range(30)],
        [4.0, 1.0] * 45,
    )
    data = impressions(log, PROTOCOL, gap_buckets=8, hashed=4)
    random = np.random.default_rng(0)
    plan = rows(data, data.training, length=3, per_row=4, random=random)
    found = [batch.positions[batch.valid.numpy()] for batch in batches(data, plan, 3, 20, random)]
    assert sorted(np.concatenate(found).tolist()) == data.training.tolist()


def test_samples_are_drawn_by_the_seed() -> None:
    """Equal seeds draw equal impressions, others draw others; the parts never mix."""
    log = make_log([("a", f"i{step % 7}", 1_000 * step) for step in range(200)], [4.0, 1.0] * 100)
    small = CtrProtocol(history_min=2, length=9, training=20, validation=5, test=10)

    def drawn(seed: int) -> list[int]:
        data = impressions(log, dataclasses.replace(small, seed=seed), gap_buckets=8, hashed=4)
        assert (
            data.training.max() < data.validation.min() <= data.validation.max() < data.test.min()
        )
        assert [len(part) for part in (data.training, data.validation, data.test)] == [20, 5, 10]
        return [*data.training.tolist(), *data.test.tolist()]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_log_that_cannot_serve_is_refused() -> None:
    """Without ratings, or without long histories, the message says what to do."""
    with pytest.raises(DatasetError, match="role rating"):
        impressions(make_log(EVENTS), PROTOCOL, gap_buckets=8, hashed=4)
    with pytest.raises(DatasetError, match="lower history_min"):
        _impressions(CtrProtocol(history_min=100))
    with pytest.raises(ValueError, match="history_min"):
        CtrProtocol(history_min=50, length=20)


def test_genres_are_the_first_of_each_item() -> None:
    """RecBole's item file, whose ids equal those of the ratings."""
    head = b"item_id:token\tmovie_title:token\tyear:float\tgenre:token\n"
    content = head + b"A (1)\tA\t1\tDrama War\nB (2)\tB\t2\t\n"
    assert parse_items(content) == {"A (1)": "Drama"}
    assert parse_inter(b"user\titem\trating\ttime\n1\tA (1)\t5\t3\n").items.tolist() == ["A (1)"]
