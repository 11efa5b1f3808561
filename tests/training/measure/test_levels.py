"""A head that does not help is not shipped: planted in networks that nobody trained."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from model.bundle import files as bundle_files
from model.bundle.load import load_bundle
from model.levels import Level
from model.network.network import Network
from model.order import Order
from model.state import zeros
from tests.training.logs import make_log
from tests.training.quick_training import QUICKER, SHAPE
from training import commands
from training.data.clicklog import ClickLog
from training.data.sequences import Held, Histories, Vocabulary
from training.fit.checkpoint import Checkpoint
from training.fit.train import Epoch, TrainedModel
from training.measure.order import best, measured
from training.measure.served import rank_targets
from training.publish import assess, shipped

USERS = 60
EPOCH = Epoch(epoch=0, next_item=0.0, click=0.0, negativity=0.0, ndcg10=0.0, hr10=0.0, seconds=0.0)


def popular_log() -> ClickLog:
    """Users who click popular items more often, each user in an order of its own."""
    random = np.random.default_rng(0)
    weights = 0.8 ** np.arange(30)
    events = []
    for user in range(USERS):
        drawn = random.choice(30, 8, p=weights / weights.sum(), replace=False)
        events += [(f"u{user}", f"item {item:02}", 1000 * at) for at, item in enumerate(drawn, 1)]
    return make_log(events)


def assessed(*, popularity: float, head: float) -> tuple[Checkpoint, Held]:
    """A random network whose next-item logit is led by popularity times a
    number, and whose head gives that logit times another.
    """
    log = popular_log()
    vocabulary = Vocabulary.of(log, hashed=SHAPE.hashed_items)
    everything = Histories.of(log, vocabulary)
    training = everything.without_last(1)
    counts = training.counts(len(vocabulary.items))
    torch.manual_seed(0)
    network = Network(SHAPE, len(vocabulary.items)).eval()
    with torch.no_grad():
        network.item_bias[: len(counts)] = popularity * torch.from_numpy(np.log1p(counts)).float()
        network.evidence.alpha.fill_(head)
        network.evidence.out.zero_()
    model = TrainedModel(
        network=network,
        vocabulary=vocabulary,
        settings=QUICKER,
        history=[EPOCH],
        best=EPOCH,
        seconds=0.0,
    )
    held = Held.last(everything)
    return assess(model, training, held, data_set="made", date="2026-01-01"), held


@pytest.mark.parametrize(
    ("popularity", "head", "worse", "level", "order"),
    [
        (3, -1, True, Level.SEQUENCE, Order.NEXT_ITEM),  # a bad head
        (3, 1, False, Level.SEQUENCE, Order.NEXT_ITEM),  # one that changes nothing
        (-3, -1, False, Level.FULL, Order.CLICK),  # a good one over a bad logit
    ],
)
def test_a_head_ships_only_where_it_helps(
    popularity: float, head: float, worse: bool, level: Level, order: Order, tmp_path: Path
) -> None:
    """What was measured says so, the published bundle keeps to it, and a sentence tells."""
    checkpoint, held = assessed(popularity=popularity, head=head)
    assert checkpoint.levels["best"] == level.name
    assert checkpoint.recommend["order"] == order
    differences = [
        figure["difference"]
        for kind in ("lists", "uniform", "popular")
        for figure in checkpoint.levels["measured"][kind].values()
    ]
    assert len(differences) == 6
    assert any(high < 0 for _, _, high in differences) == worse
    console = Console(file=io.StringIO(), width=300)
    checkpoint.save(tmp_path / "model")
    published = commands.publish_model(tmp_path / "model", out=tmp_path / "b", console=console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"Score answers at level {level.name}: the full model" in printed
    assert ("is better somewhere and worse nowhere" in printed) == (level is Level.FULL)
    assert ("does not help and is not used" in printed) == (level is Level.SEQUENCE)
    assert published.levels == bundle_files.read(tmp_path / "b").levels == checkpoint.levels
    bundle = load_bundle(tmp_path / "b")
    row = zeros(SHAPE, 1)
    one = np.ones(1, np.int64)
    bundle.fold(row, one - 1, one.astype(np.uint64), one, (one - 1).astype(np.uint8), one, one)
    assert bundle.score(row[0], np.arange(5), 2, Level.FULL).level is level
    assert bundle.recommend(row[0], 3, False, 2)[1].level is (
        Level.FULL if order is Order.CLICK else Level.SEQUENCE
    )
    targets = held.targets(len(bundle.items))
    for served in (bundle, shipped(checkpoint)):
        ndcg = rank_targets(served, held.histories, targets).summary()["ndcg10"]
        assert ndcg == pytest.approx(checkpoint.metadata["served"]["ndcg10"], abs=1e-5)


def test_the_levels_of_one_state_are_asked_whatever_ships() -> None:
    """A bundle that answers at SEQUENCE is measured at FULL all the same."""
    checkpoint, held = assessed(popularity=3, head=-1)
    bundle = shipped(checkpoint)
    assert bundle.best is Level.SEQUENCE
    assert measured(bundle, held, QUICKER.seed).levels == checkpoint.levels
    assert shipped(dataclasses.replace(checkpoint, levels={})).best is Level.FULL


@pytest.mark.parametrize(
    ("lists", "popular", "level"),
    [
        ([0.0, -0.1, 0.1], [-0.1, -0.2, 0.01], Level.SEQUENCE),  # equal once, nowhere better
        ([0.01, -0.1, 0.1], [-0.1, -0.2, 0.01], Level.FULL),  # better once, worse by chance once
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], Level.SEQUENCE),  # the head changes nothing
        ([0.2, 0.1, 0.3], [-0.1, -0.2, -0.01], Level.SEQUENCE),  # worse beyond chance once
        ([-0.1, -0.2, 0.1], [-0.1, -0.2, 0.1], Level.SEQUENCE),  # nowhere better
        ([-0.1, -0.2, 0.1], [0.1, 0.0, 0.2], Level.FULL),
    ],
)
def test_the_rule_by_hand(lists: list[float], popular: list[float], level: Level) -> None:
    """Worse beyond chance on no kind of list, and better on one."""
    compared = {
        "lists": {"ndcg10": {"difference": lists}},
        "popular": {"auc": {"difference": popular}},
    }
    assert best(compared) is level
