"""What users without any click get from a published bundle."""

from __future__ import annotations

import numpy as np
import pytest

from model.levels import Level
from model.popularity import DAY_MS
from model.state import zeros
from tests.training.logs import make_log
from tests.training.quick_training import QUICKER, SHAPE
from training.data.clicklog import ClickLog
from training.measure import metrics
from training.publish import Published, publish
from training.runs import Run, train_by_time

DAYS = 60
EACH_DAY = 20
NOW_MS = DAYS * DAY_MS


def fashionable() -> ClickLog:
    """Users with two clicks a day after each other; the ten items that they click are others after
    day 40.
    """
    random = np.random.default_rng(0)
    events = []
    for at in range(DAYS * EACH_DAY):
        day = at // EACH_DAY
        item = random.integers(0, 10) + (10 if day >= 40 else 0)
        events.append((f"user-{at // 2}", f"item-{item}", at * (DAY_MS // EACH_DAY)))
    return make_log(events)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Published]:
    """A bundle of that log."""
    run = train_by_time(
        fashionable(),
        data_set="file",
        date="d",
        shape=SHAPE,
        settings=QUICKER,
        show_progress=False,
    )
    return run, publish(run.checkpoint, tmp_path_factory.mktemp("cold") / "bundle")


def test_a_cold_user_gets_what_is_popular_now(made: tuple[Run, Published]) -> None:
    """Not what was clicked most of all time; the same in each answer, seen items left out or not,
    and by a state without clicks as by none.
    """
    run, published = made
    bundle = published.bundle
    items, scores = bundle.recommend(None, 10, exclude_seen=False, now_ms=NOW_MS)
    assert {int(bundle.items[row].partition("-")[2]) for row in items} == set(range(10, 20))
    assert scores.level == Level.PRIOR
    assert np.all(np.diff(scores.probabilities) <= 0)
    most = np.argsort(-run.checkpoint.counts)[:10]
    assert not {bundle.items[row] for row in most} & {bundle.items[row] for row in items}
    empty = zeros(bundle.config, 1)[0]
    for row in (None, empty):
        for exclude_seen in (False, True):
            again, same = bundle.recommend(row, 10, exclude_seen, NOW_MS + 1)
            assert again.tolist() == items.tolist()
            assert same.probabilities.tolist() == scores.probabilities.tolist()


def test_scores_at_prior_are_calibrated_on_the_same_popularity(
    made: tuple[Run, Published],
) -> None:
    """The list's probabilities are those of `Score`: the fitted sigmoid of the log of the recent
    share.
    """
    run, published = made
    bundle = published.bundle
    items, listed = bundle.recommend(None, 20, exclude_seen=False, now_ms=NOW_MS)
    scored = bundle.score(None, items, NOW_MS, Level.FULL)
    assert scored.level == Level.PRIOR
    assert scored.probabilities.tolist() == listed.probabilities.tolist()
    slope, intercept = run.checkpoint.calibration[Level.PRIOR - 1]
    popular = run.checkpoint.answering
    share = (popular + 0.5) / (popular.sum() + 0.5 * (len(popular) + SHAPE.hashed_items))
    expected = metrics.sigmoid(slope * np.log(share[items]) + intercept)
    np.testing.assert_allclose(scored.probabilities, expected, rtol=1e-4)
    assert slope > 0


def test_the_bundle_says_what_and_until_when(made: tuple[Run, Published]) -> None:
    """The window in words, and the newest click that was learned from."""
    run, published = made
    popularity = published.bundle.popularity
    assert popularity.window == run.checkpoint.metadata["popularity"]["window"]
    assert popularity.days in {1, 7}
    assert popularity.until_ms == run.checkpoint.metadata["trained_until_ms"]
    assert 0 < NOW_MS - (popularity.until_ms or 0) < 8 * DAY_MS
