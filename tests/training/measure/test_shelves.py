"""Candidate lists hold what they say, and their figures are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle.bundle import Bundle
from model.levels import BEST
from model.network.export import random_bundle
from tests.training.logs import make_log
from tests.training.quick_training import SHAPE
from training.data.clicklog import ClickLog
from training.data.sequences import Held, Histories, Vocabulary
from training.measure.served import walk
from training.measure.shelves import OWN, SIZE, Asked, Shelf, Shelves

ITEMS = 300


def log_of_many() -> ClickLog:
    """Thirty users of thirty clicks, low numbers more often, and one click on every item."""
    random = np.random.default_rng(1)
    events = [
        (f"u{user}", str(int(ITEMS * random.random() ** 3)), at)
        for user in range(30)
        for at in range(1, 31)
    ]
    return make_log(events + [("everything", str(item), item + 1) for item in range(ITEMS)])


@pytest.fixture(scope="module")
def asking() -> tuple[Bundle, Held]:
    """An untrained bundle, and the last two clicks of each user."""
    log = log_of_many()
    vocabulary = Vocabulary.of(log, hashed=SHAPE.hashed_items)
    histories = Histories.of(log, vocabulary)
    held = Held(histories, np.minimum(histories.lengths() - 1, 2))
    return random_bundle(SHAPE, vocabulary.items), held


@pytest.mark.parametrize("shelf", Shelf)
def test_a_list_holds_the_click_and_others(asking: tuple[Bundle, Held], shelf: Shelf) -> None:
    """SIZE items, the clicked one first and once; a seed draws them again."""
    bundle, held = asking
    histories = held.histories
    drawn, again = (Shelves(bundle, histories, shelf, seed=3) for _ in range(2))
    popularity = []
    for target, row in walk(bundle, histories, held.targets(ITEMS)):
        start = histories.starts[np.searchsorted(histories.starts, target, side="right") - 1]
        item = histories.items[target]
        before = histories.items[start:target]
        items = drawn.draw(target, row)
        assert items.tolist() == again.draw(target, row).tolist()
        assert len(items) == SIZE
        assert items[0] == item
        assert item not in items[1:]
        if shelf is Shelf.UNIFORM:
            assert not np.isin(items[1:], before).any() or len(before) > ITEMS // 2
        if shelf is Shelf.POPULAR:
            assert len(set(items.tolist())) == SIZE
            own = list(dict.fromkeys(before[::-1].tolist()))[:OWN]
            assert set(own) <= set(items.tolist())
            popularity.append(histories.counts(ITEMS)[items[1 + OWN :]].mean())
        if shelf is Shelf.TOP:
            best = np.lexsort((np.arange(ITEMS), -bundle.next_item(row)))[:SIZE].tolist()
            others = [each for each in best if each != item][: SIZE - 1]
            assert items[1:].tolist() == others
    if shelf is Shelf.POPULAR:
        assert np.mean(popularity) > histories.counts(ITEMS).mean()


def test_answers_are_those_of_the_bundle(asking: tuple[Bundle, Held]) -> None:
    """Both levels, in the order asked, with the users whose clicks they were."""
    bundle, held = asking
    shelves, twin = (Shelves(bundle, held.histories, Shelf.POPULAR) for _ in range(2))
    users = []
    expected = []
    for target, row in walk(bundle, held.histories, held.targets(ITEMS)[:5]):
        shelves.ask(target, row)
        items = twin.draw(target, row)
        now_ms = int(held.histories.times_ms[target])
        expected.append([bundle.score(row, items, now_ms, level).probabilities for level in BEST])
        users.append(np.searchsorted(held.histories.starts, target, side="right") - 1)
    for at, (level, found) in enumerate(shelves.asked().items()):
        assert level is BEST[at]
        assert found.users.tolist() == users
        probabilities = 1 / (1 + np.exp(-found.logits))
        np.testing.assert_allclose(probabilities, [each[at] for each in expected], atol=1e-6)


def test_figures_by_hand() -> None:
    """Ties count half in AUC and against the click in NDCG."""
    found = Asked(
        users=np.array([0, 0]),
        logits=np.array([[2.0, 1.0, 2.0, 3.0], [9.0, 1.0, 2.0, 3.0]]),
    )
    np.testing.assert_allclose(found.auc(), [0.5, 1.0])
    np.testing.assert_allclose(found.ndcg(), [1 / np.log2(4), 1.0])
    summary = found.summary()
    assert summary["gauc"] == pytest.approx(0.75)
    assert summary["ndcg10"] == pytest.approx(0.75)
    # 2 is above 1 and 1 and level with 2 and 2; 9 is above all six
    assert summary["auc"] == pytest.approx((2 + 2 * 0.5 + 6) / 12)
