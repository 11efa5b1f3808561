"""Training a click-through method: it learns what can be learned, repeats itself,
and never chooses by the test.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from bench.accuracy.ctr.counts import liked
from bench.accuracy.ctr.data import CtrProtocol, Impressions, batches, impressions, rows
from bench.accuracy.ctr.methods import ClickModel, method
from bench.accuracy.ctr.train import CtrConfig, CtrEpoch, click_loss, evaluate, predict, train
from tests.training.logs import make_log
from training.measure import metrics

SETTINGS = CtrConfig(epochs=3, length=20, tokens=400, dropout=0.0)


def _data() -> Impressions:
    """40 users; half of them like nearly everything and half nearly nothing,
    so only the history can tell.
    """
    random = np.random.default_rng(0)
    events = []
    ratings = []
    for step in range(60):
        for user in range(40):
            item = int(random.integers(12))
            events.append((f"u{user}", f"i{item}", 60_000 * (40 * step + user)))
            ratings.append(5.0 if (user % 2) ^ (random.random() < 0.1) else 1.0)
    protocol = CtrProtocol(history_min=10, length=20, training=5_000, validation=200, test=400)
    return impressions(make_log(events, ratings), protocol, gap_buckets=32, hashed=4)


@pytest.fixture(scope="module")
def data() -> Impressions:
    """One log for all."""
    return _data()


def _fit(
    data: Impressions, name: str, settings: CtrConfig = SETTINGS
) -> tuple[dict[str, float], list[CtrEpoch]]:
    lines: list[CtrEpoch] = []
    fitted = train(lambda: method(name, settings.length), data, settings, lines.append)
    return evaluate(fitted, data, settings)[0], lines


def test_only_a_history_can_tell(data: Impressions) -> None:
    """Without one, AUC stays at a coin's; the streaming form finds each user's mood."""
    assert _fit(data, "none")[0]["auc"] == pytest.approx(0.5, abs=0.08)
    found, lines = _fit(data, "streaming", SETTINGS)
    assert found["auc"] > 0.85
    assert found["log_loss"] < 0.5
    assert len(lines) == 3


def test_equal_seeds_give_equal_figures(data: Impressions) -> None:
    """Twice the same, and another seed gives others."""
    once = dataclasses.replace(SETTINGS, epochs=1)
    assert _fit(data, "sdim", once)[0] == _fit(data, "sdim", once)[0]
    assert _fit(data, "sdim", once)[0] != _fit(data, "sdim", dataclasses.replace(once, seed=1))[0]


def test_the_best_epoch_is_validations(data: Impressions) -> None:
    """The weights that are kept give the best epoch's validation AUC, not the last one's."""
    settings = dataclasses.replace(SETTINGS, epochs=2)
    fitted = train(lambda: method("mean", 20), data, settings, lambda line: None)
    logits, labels = predict(fitted.model, data, data.validation, settings)
    assert (
        metrics.auc(labels, logits) == fitted.best.auc == max(line.auc for line in fitted.history)
    )


def test_predictions_stand_in_the_order_asked(data: Impressions) -> None:
    """One impression alone gets the logit that it gets among all the others, and its own label."""
    torch.manual_seed(0)
    fitted = train(
        lambda: method("attention", 20),
        data,
        dataclasses.replace(SETTINGS, epochs=1),
        lambda line: None,
    )
    together, labels = predict(fitted.model, data, data.test, SETTINGS)
    alone = [
        predict(fitted.model, data, data.test[at : at + 1], SETTINGS)[0][0] for at in (0, 57, 199)
    ]
    np.testing.assert_allclose(together[[0, 57, 199]], alone, atol=1e-5)
    assert labels.tolist() == data.labels[data.test].tolist()


def test_padding_does_not_count_in_the_loss(data: Impressions) -> None:
    """The mean is over real impressions: ln 2 at logit 0, whatever stands in the padding."""
    batch = next(iter(batches(data, rows(data, data.test, 20, 7), 20, 400)))
    logits = torch.where(batch.valid, 0.0, 1e6)
    assert float(click_loss(logits, batch)) == pytest.approx(np.log(2))


def test_a_limit_of_minutes_ends_the_training(data: Impressions) -> None:
    """With no time left it stops after a step, and still gives a model."""
    found, lines = _fit(data, "mean", dataclasses.replace(SETTINGS, minutes_max=1e-9, epochs=50))
    assert len(lines) == 1
    assert 0 <= found["auc"] <= 1


def test_item_biases_start_from_all_that_was_known(data: Impressions) -> None:
    """Likes before the validation part count, of short histories too; unknown items start at 0."""
    found = liked(data)
    known = data.times_ms < data.times_split_ms[0]
    of_first = known & (data.items == 0)
    likes = data.labels[of_first].sum() + 10 * data.labels[known].mean()
    assert found[0] == pytest.approx(_logit(likes / (of_first.sum() + 10)))
    model = ClickModel(method("none", 20), len(data.vocabulary.items), data.vocabulary.actions)
    model.start(torch.from_numpy(found))
    bias = model.item_bias.weight.detach()[:, 0]
    assert bias[: len(found)].numpy() == pytest.approx(found)
    assert not bias[len(found) :].any()


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
