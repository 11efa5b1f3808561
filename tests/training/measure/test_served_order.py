"""What a training says of its recommendations is what the API answers:
the order chosen, and the lists.
"""

from __future__ import annotations

import copy
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from bench.accuracy.states.served_ranks import rank_served
from model.bundle import files as bundle_files
from model.bundle.bundle import Bundle
from model.bundle.load import of_content
from model.levels import Level
from model.order import Order
from rpc import echorank_pb2 as pb
from tests.actors.serve.served_shard import NOW_MS, PARTITIONS, served_shard
from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICKER, SHAPE
from training import commands
from training.data.sequences import Held, Histories
from training.measure.order import measured
from training.measure.ranking import UNLISTED
from training.measure.served import clicks_of, places
from training.pilot.questions import vocabulary_of
from training.publish import publish
from training.runs import Run, train_by_time


@pytest.fixture(scope="module")
def run() -> Run:
    """A training on circle walkers, who come back to items that they had."""
    return train_by_time(
        cyclic_log(length=24),
        data_set="circle",
        date="2026-01-01",
        shape=SHAPE,
        settings=QUICKER,
        show_progress=False,
    )


@pytest.fixture(scope="module")
def content(run: Run, tmp_path_factory: pytest.TempPathFactory) -> bundle_files.BundleContent:
    """The bundle of that training."""
    path = tmp_path_factory.mktemp("order") / "bundle"
    publish(run.checkpoint, path)
    return bundle_files.read(path)


def planted(content: bundle_files.BundleContent, *, good_head: bool) -> Bundle:
    """The bundle with one of its two orders turned round: the head's, or the next-item logit's."""
    content = copy.deepcopy(content)
    arrays = content.arrays
    arrays["score.head_out"][:] = 0
    arrays["score.head_scalars"][0] = -1
    if good_head:
        for name in ("item", "item_bias"):
            arrays[f"score.{name}"][:] *= -1
        arrays["score.member_vote"][:-1] **= -1
        arrays["score.member_often"][:] *= -1
    return of_content(content).limited(Level.FULL)


def held_of(bundle: Bundle) -> Held:
    """The last tenth of the walkers' time line."""
    log = cyclic_log(length=24).by_time()
    return Held.since(
        Histories.of(log, vocabulary_of(bundle)), int(log.times_ms[int(len(log) * 0.9)])
    )


@pytest.mark.parametrize(("good_head", "order"), [(False, Order.NEXT_ITEM), (True, Order.CLICK)])
def test_the_better_order_is_recorded(
    content: bundle_files.BundleContent, good_head: bool, order: Order
) -> None:
    """A bad head is not followed and a bad logit is not either;
    the figures are those of the served lists.
    """
    bundle = planted(content, good_head=good_head)
    held = held_of(bundle)
    record, levels = measured(bundle, held)
    assert record["order"] == order
    assert levels["best"] == ("FULL" if good_head else "SEQUENCE")
    figures = {each: rank_served(bundle.ordered(each), held).summary() for each in Order}
    for each in Order:
        for name, value in record["measured"][each.value].items():
            assert value == pytest.approx(figures[each][name], abs=1e-5)
    assert (
        figures[order]["ndcg10"]
        > 0.8
        > figures[next(each for each in Order if each != order)]["ndcg10"]
    )


def test_a_training_reports_the_lists_of_its_bundle(
    run: Run, content: bundle_files.BundleContent
) -> None:
    """The bundle keeps what was measured, and its own lists give the training's figures."""
    bundle = of_content(content)
    assert content.recommend == run.checkpoint.recommend
    assert content.levels == run.checkpoint.levels
    assert bundle.best.name == content.levels["best"]
    assert set(content.recommend["measured"]) == set(Order)
    figures = rank_served(bundle, held_of(bundle)).summary()
    assert all(run.test[name] == pytest.approx(value) for name, value in figures.items())
    assert content.metadata["served"]["ndcg10"] == pytest.approx(figures["ndcg10"], abs=1e-5)


@pytest.mark.parametrize("order", Order)
async def test_the_rpc_answers_what_was_evaluated(
    content: bundle_files.BundleContent, order: Order, tmp_path: Path
) -> None:
    """Through service and shard, whatever the order:
    each held-out click has the rank that the evaluation gave it.
    """
    # rounding depends on offsets, which differ
    bundle = planted(content, good_head=False).ordered(order).unrounded()
    vocabulary = vocabulary_of(bundle)
    log = cyclic_log(users=12, length=24)
    log = dataclasses.replace(log, times_ms=np.full(len(log), NOW_MS))
    histories = Histories.of(log, vocabulary)
    evaluated = rank_served(bundle, Held.last(histories))
    found = []
    async with served_shard(tmp_path, arms={"main": bundle}) as served:
        for user, start, stop in zip(
            histories.users, histories.starts, histories.starts[1:], strict=False
        ):
            names = [bundle.items[row] for row in histories.items[start:stop]]
            for item in names[:-1]:
                served.click(user, item)
            lists = []
            for k, exclude in ((10, False), (10, True), (len(bundle.items), False)):
                request = pb.RecommendRequest(
                    user=user, k=k, exclude_seen=exclude, arm="main", time_ms=NOW_MS
                )
                answer = await served.stub.Recommend(request)
                lists.append([each.item for each in answer.items])
                falling = [each.probability for each in answer.items]
                assert falling == sorted(falling, reverse=True)
                assert answer.origin.level == (
                    pb.LEVEL_SEQUENCE if order is Order.NEXT_ITEM else pb.LEVEL_FULL
                )
            assert lists[2][:10] == lists[0]
            assert len(lists[2]) == len(bundle.items)
            row = served.shard.read(partition_of(user, PARTITIONS), "main", key(user)).row
            assert row is not None
            found.append(
                tuple(at.index(names[-1]) + 1 if names[-1] in at else UNLISTED for at in lists[:2])
            )
            assert found[-1] == places(bundle, row, bundle.items.index(names[-1]), NOW_MS)
        assert served.counted("degraded_total", reason="deadline") == 0
    assert found == list(zip(evaluated.plain.tolist(), evaluated.excluded.tolist(), strict=True))


def test_publishing_says_what_recommend_sorts_by(run: Run, tmp_path: Path) -> None:
    """With both figures, or that there were no clicks to measure by."""
    console = Console(file=io.StringIO(), width=200)
    run.checkpoint.save(tmp_path / "model")
    commands.publish_model(tmp_path / "model", out=tmp_path / "bundle", console=console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert (
        f"on {run.checkpoint.recommend['clicks']} held-out clicks: the next-item logit " in printed
    )
    assert commands.sorted_by({}).startswith(
        "Recommend sorts by the next-item logit: no held-out clicks"
    )
    why = {
        "FULL": "the full model is better somewhere and worse nowhere",
        "SEQUENCE": "the full model's head does not help and is not used",
    }
    best = run.checkpoint.levels["best"]
    assert f"Score answers at level {best}: {why[best]}; NDCG@10 of" in printed
    assert commands.answered_at({}).startswith("Score answers at level FULL: no held-out clicks")


def test_fewer_clicks_are_asked_of_a_large_catalogue() -> None:
    """But not of one of the usual size, and never too few to tell."""
    assert clicks_of(100_000, 10_000) == 10_000
    assert clicks_of(1_000_000, 10_000) == 1_000
    assert clicks_of(10**8, 10_000) == 500
    assert clicks_of(10**8, 20) == 20
