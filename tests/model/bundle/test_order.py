"""What recommendations are sorted by, and at which level is answered: the bundle's records decide,
ties and depths do not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.bundle import files as bundle_files
from model.bundle.bundle import RETRIEVED_MIN, Bundle
from model.bundle.load import load_bundle, of_content
from model.config import ModelConfig
from model.errors import BundleError
from model.kernels.scorer import top
from model.levels import BEST, Level
from model.network.export import write_bundle
from model.order import Order
from tests.model.models import VARIANTS, fold_all, histories, network

ITEMS = 300  # more than a list of ten retrieves for the click head
NAMES = tuple(f"item {i}" for i in range(ITEMS))
CONFIG = ModelConfig(**VARIANTS["small"], actions=("view", "buy"))


def made(path: Path, **more: object) -> Bundle:
    """A written and loaded bundle of a lively network over ITEMS items."""
    write_bundle(
        path, network(CONFIG, items=ITEMS), NAMES, np.arange(ITEMS, dtype=float), {}, **more
    )  # type: ignore[arg-type]
    return load_bundle(path)


def bad_head(path: Path, order: Order) -> Bundle:
    """A bundle whose click head ranks the other way round than its next-item logit."""
    content = bundle_files.read(path)
    content.arrays["score.head_out"][:] = 0
    content.arrays["score.head_scalars"][0] = -1
    return of_content(content).ordered(order)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle without a record."""
    return made(tmp_path_factory.mktemp("order") / "b")


def asked(bundle: Bundle) -> tuple[np.ndarray, int]:
    """A user's row, and a moment after its last event."""
    batch = histories(1, 20, bundle.config)
    return fold_all(bundle._fold, bundle.config, batch)[0], int(batch.times_ms[0, -1]) + 1


@pytest.mark.parametrize("k", [1, 10, RETRIEVED_MIN, ITEMS, ITEMS + 5])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_bundle_without_a_record_lists_by_next_item_logit(
    bundle: Bundle, k: int, exclude_seen: bool
) -> None:
    """However deep: the order is that of `next_item`,
    and the probabilities are SEQUENCE's and never rise.
    """
    row, now_ms = asked(bundle)
    logits = bundle.next_item(row).copy()
    if exclude_seen:
        logits[bundle.remembered(row).recent] = -np.inf
        logits[np.isin(np.arange(ITEMS), histories(1, 20, bundle.config).items[0])] = -np.inf
    expected = np.lexsort((np.arange(ITEMS), -logits))[: min(k, int(np.isfinite(logits).sum()))]
    found, scores = bundle.recommend(row, k, exclude_seen, now_ms)
    assert found.tolist() == expected.tolist()
    assert scores.level is Level.SEQUENCE
    assert (np.diff(scores.probabilities) <= 0).all()
    same = bundle.score(row, found, now_ms, Level.SEQUENCE).probabilities
    np.testing.assert_allclose(scores.probabilities, same, atol=1e-6)


def test_a_bad_head_is_followed_only_where_the_record_says_so(tmp_path: Path) -> None:
    """A head that turns everything round changes nothing by next-item
    logit, and everything by clicks.
    """
    good = made(tmp_path / "b")
    row, now_ms = asked(good)
    by_logit, by_click = (
        bad_head(tmp_path / "b", order).recommend(row, 10, False, now_ms) for order in Order
    )
    best = good.recommend(row, RETRIEVED_MIN, False, now_ms)[0]
    assert by_logit[0].tolist() == best[:10].tolist()
    assert by_click[0].tolist() == best[::-1][:10].tolist()
    assert (by_logit[1].level, by_click[1].level) == (Level.SEQUENCE, Level.FULL)
    assert (np.diff(by_click[1].probabilities) <= 0).all()


@pytest.mark.parametrize("order", Order)
def test_the_record_survives_the_files(order: Order, tmp_path: Path) -> None:
    """What was measured, and the order that it led to, come back;
    another order is another version.
    """
    record = {"order": order.value, "measured": {"next-item": {"ndcg10": 0.1}}}
    bundle = made(tmp_path / "b", recommend=record)
    assert bundle.order is order
    assert bundle_files.read(tmp_path / "b").recommend == record
    assert (
        bundle.version == made(tmp_path / "c", recommend=record | {"order": "click"}).version
    ) == (order == "click")


@pytest.mark.parametrize("best", BEST)
def test_nothing_is_answered_above_the_recorded_level(best: Level, tmp_path: Path) -> None:
    """The record survives the files; FULL is answered at the best level, golden examples too,
    lists by clicks exist at FULL only, and less than the best is still to be had.
    """
    record = {"best": best.name, "measured": {"lists": {"ndcg10": {"difference": [0, 0, 0]}}}}
    bundle = made(tmp_path / "b", recommend={"order": "click"}, levels=record)
    assert bundle.best is best
    assert bundle_files.read(tmp_path / "b").levels == record
    row, now_ms = asked(bundle)
    items = np.arange(ITEMS)
    full = bundle.limited(Level.FULL)
    answered = bundle.score(row, items, now_ms, Level.FULL)
    expected = full.score(row, items, now_ms, best)
    assert answered.level is expected.level is best
    assert answered.probabilities.tolist() == expected.probabilities.tolist()
    assert bundle.score(row, items, now_ms, Level.PRIOR).level is Level.PRIOR
    assert bundle.score(None, items, now_ms).level is Level.PRIOR
    listed, scores = bundle.recommend(row, 10, False, now_ms)
    order = Order.CLICK if best is Level.FULL else Order.NEXT_ITEM
    assert listed.tolist() == full.ordered(order).recommend(row, 10, False, now_ms)[0].tolist()
    assert scores.level is best


@pytest.mark.parametrize("content", [{"best": "PRIOR"}, {"best": 1}, {"best": ["FULL"]}, "FULL"])
def test_a_level_that_cannot_be_the_best_is_refused(content: object, tmp_path: Path) -> None:
    """As an order is."""
    made(tmp_path / "b")
    rewrite(tmp_path / "b", {"levels": content})
    with pytest.raises(BundleError, match=r"cannot be read: .*; publish it again"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize(
    "content", [{"order": "best"}, {"order": None}, {"order": ["click"]}, "click", None]
)
def test_an_order_that_nobody_knows_is_refused(content: object, tmp_path: Path) -> None:
    """The bundle is named, and what to do."""
    made(tmp_path / "b")
    rewrite(tmp_path / "b", {"recommend": content})
    with pytest.raises(BundleError, match=r"cannot be read: .*; publish it again"):
        load_bundle(tmp_path / "b")


def rewrite(path: Path, changes: dict[str, object]) -> None:
    """Change the config.json of a bundle, and its manifest with it."""
    about = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(about | changes))
    manifest = json.loads((path / "manifest.json").read_text())
    files = manifest["files"] | {"config.json": bundle_files._digest(path / "config.json")}
    manifest |= {"files": files, "version": bundle_files._version(files)}
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_an_older_bundle_lists_by_next_item_logit(tmp_path: Path) -> None:
    """Its files have no record at all; it answers at FULL."""
    made(tmp_path / "b")
    assert load_bundle(tmp_path / "b").best is Level.FULL
    content = bundle_files.read(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["recommend"] == {
        "order": "next-item"
    }
    assert (
        bundle_files.BundleContent(**{**vars_of(content), "recommend": {}}).order is Order.NEXT_ITEM
    )


def vars_of(content: bundle_files.BundleContent) -> dict[str, object]:
    """Its fields by name."""
    return {name: getattr(content, name) for name in content.__dataclass_fields__}


def test_equal_ones_come_by_row() -> None:
    """Also where the cut goes through them, and with fewer values than asked for."""
    values = np.array([1.0, 2.0, 1.0, 3.0, 1.0, -np.inf, 2.0], dtype=np.float32)
    assert top(values, 5).tolist() == [3, 1, 6, 0, 2]
    assert top(values, 100).tolist() == [3, 1, 6, 0, 2, 4, 5]
    assert top(values, 0).tolist() == top(values[:0], 3).tolist() == []
    assert top(np.zeros(1000, np.float32), 10).tolist() == list(range(10))
