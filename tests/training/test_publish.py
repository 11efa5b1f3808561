"""From a click log to a bundle: calibration,
agreement of served and trained scores, files, commands.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model.bundle.load import load_bundle
from model.levels import Level
from tests.training.logs import cyclic_log, make_log
from tests.training.quick_training import QUICKER, SHAPE, quick_recipe
from training import commands
from training.data import datasets
from training.data.sequences import Held, Histories
from training.errors import DatasetError
from training.fit.checkpoint import Checkpoint
from training.measure import metrics
from training.measure.evaluate import NetworkRanker, clicks, rank
from training.measure.served import ask
from training.measure.targets import NegativeSampler
from training.pilot.questions import hold_out
from training.publish import in_memory, publish
from training.runs import SplitRun, train_by_time, train_leave_one_out, train_split

DATE = "2026-01-01"


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> SplitRun:
    """A bundle from the first 80 % of the circle walkers."""
    out = tmp_path_factory.mktemp("split") / "bundle"
    return train_split(
        cyclic_log(),
        out=out,
        data_set="circle",
        date=DATE,
        shape=SHAPE,
        settings=QUICKER,
        show_progress=False,
    )


def test_a_split_keeps_the_rest_unseen_and_in_order(split: SplitRun) -> None:
    """Early and remaining events are the whole log, in time order, cut once."""
    whole = cyclic_log().by_time()
    assert len(split.earlier) == int(0.8 * len(whole))
    assert split.earlier.items.tolist() + split.remaining.items.tolist() == whole.items.tolist()
    assert split.earlier.times_ms[-1] <= split.remaining.times_ms[0]
    assert split.run.test["ndcg10"] > split.run.popularity["ndcg10"]


def test_the_published_bundle_loads_and_says_where_it_is_from(split: SplitRun) -> None:
    """Version, catalogue and calibration of the files are those that were published."""
    bundle = load_bundle(split.published.path)
    assert bundle.version == split.published.version
    assert bundle.items == split.run.model.vocabulary.items
    assert split.run.checkpoint.metadata["data_set"] == "circle"
    assert split.run.checkpoint.metadata["date"] == DATE


def test_served_logits_agree_with_the_network(split: SplitRun) -> None:
    """Folding events one by one into bytes ranks and scores nearly as the
    whole-history pass in float32 does.
    """
    model = split.run.model
    histories = Histories.of(split.earlier, model.vocabulary)
    held = Held.last(histories)
    bundle = in_memory(model, histories.counts(12))
    sampler = NegativeSampler(histories, 12, popular=0.0, seen=0.0)
    served = ask(bundle, held, sampler, negatives=5)
    positives = served.clicks[Level.FULL].logits.reshape(-1, 6)[:, 0]
    trained = clicks(model.network, held, sampler=sampler, negatives=5).logits.reshape(-1, 6)[:, 0]
    assert len(positives) == len(histories.users)
    np.testing.assert_allclose(np.sort(positives), np.sort(trained), atol=0.2)
    plain = rank(NetworkRanker(model.network), held, 12).plain
    assert abs(metrics.ndcg(served.ranks, 10).mean() - metrics.ndcg(plain, 10).mean()) < 0.02


def test_calibration_gives_every_level_the_share_of_clicks(split: SplitRun) -> None:
    """With the published calibration,
    mean probability is near the share of clicked candidates at each level.
    """
    histories = Histories.of(split.earlier, split.run.model.vocabulary)
    sampler = NegativeSampler(histories, 12, popular=0.0, seen=0.0)
    tails = np.minimum(histories.lengths() - 1, 2)
    served = ask(split.published.bundle, Held(histories, tails), sampler, negatives=99, seed=1)
    for level in Level:
        probabilities = metrics.sigmoid(served.clicks[level].logits)
        assert probabilities.mean() == pytest.approx(0.01, abs=0.01)


def test_equal_trainings_give_equal_bundles(tmp_path: Path, split: SplitRun) -> None:
    """The version, a digest of all bytes, depends on the training and the given date only."""
    versions = [
        train_split(
            cyclic_log(),
            out=tmp_path / date,
            data_set="circle",
            date=date,
            shape=SHAPE,
            settings=QUICKER,
            show_progress=False,
        ).published.version
        for date in (DATE, "2026-01-02")
    ]
    assert versions[0] == split.published.version
    assert versions[1] != split.published.version


def test_a_checkpoint_survives_its_files(tmp_path: Path, split: SplitRun) -> None:
    """Saved and loaded, a model publishes to the same version."""
    split.run.checkpoint.save(tmp_path / "model")
    loaded = Checkpoint.load(tmp_path / "model")
    assert publish(loaded, tmp_path / "bundle").version == split.published.version


def test_an_older_checkpoint_answers_cold_users_by_its_counts(
    tmp_path: Path, split: SplitRun
) -> None:
    """One that was saved without what is popular now loads, and publishes."""
    dataclasses.replace(split.run.checkpoint, popular=None).save(tmp_path / "model")
    loaded = Checkpoint.load(tmp_path / "model")
    assert loaded.popular is None
    bundle = publish(loaded, tmp_path / "bundle").bundle
    first, _ = bundle.recommend(None, 12, exclude_seen=False, now_ms=0)
    assert first.tolist() == np.argsort(-loaded.counts, kind="stable").tolist()


@pytest.mark.parametrize("damage", ["missing", "half a file", "no json"])
def test_an_incomplete_model_is_named(tmp_path: Path, split: SplitRun, damage: str) -> None:
    """Missing or damaged files give the directory and the command that makes it anew."""
    path = tmp_path / "model"
    if damage != "missing":
        split.run.checkpoint.save(path)
        (path / "weights.safetensors").write_bytes(b"half")
    if damage == "no json":
        (path / "model.json").write_text("{")
    with pytest.raises(DatasetError, match=r"holds no complete trained model.*echorank train"):
        Checkpoint.load(path)


def test_leave_one_out_tests_on_the_last_event() -> None:
    """Each user with enough events gives one test event; walking in a circle is learned."""
    run = train_leave_one_out(
        cyclic_log(),
        data_set="circle",
        date=DATE,
        shape=SHAPE,
        settings=QUICKER,
        show_progress=False,
    )
    assert run.test["events"] == 40
    assert run.test["ndcg10"] > run.popularity["ndcg10"]
    assert run.simple_name == "sequential-rules"
    assert run.simple["ndcg10"] > run.popularity["ndcg10"]


def test_a_set_of_sessions_is_tested_on_its_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train` asks each click after the first of the test's sessions, and so does `evaluate`: the
    bundle says that everything before these is not new to it.
    """
    log = cyclic_log()
    by_user = np.lexsort((log.times_ms, [int(user[5:]) for user in log.users]))
    times = np.arange(len(log), dtype=np.int64) * 1000
    log = dataclasses.replace(log.take(by_user), times_ms=times)
    entry = dataclasses.replace(
        datasets.DATASETS["tmall"], counts=log.counts(), read=lambda _: log, tested=4
    )
    monkeypatch.setitem(datasets.DATASETS, "tmall", entry)
    run = commands.training_of("tmall")(
        datasets.load("tmall", path=tmp_path),
        data_set="tmall",
        date=DATE,
        shape=SHAPE,
        settings=QUICKER,
        show_progress=False,
    )
    assert run.test["events"] == 4 * 8
    metadata = run.checkpoint.metadata
    assert metadata["trained_until_ms"] == times[36 * 9 - 1]
    bundle = in_memory(run.model, run.checkpoint.counts)
    assert hold_out(log, bundle, metadata, by_time=False).held.tails.sum() == 4 * 8
    assert commands.parts_of("tmall", log).test.tails.sum() == 4 * 8
    assert run.test["hr20"] >= run.test["hr10"]
    assert f"this model {run.test['hr20']:.4f} / {run.test['mrr20']:.4f}, popularity" in (
        commands.as_session_papers(run)
    )


def test_logs_too_short_are_refused() -> None:
    """One event cannot be split, and the message says how many there are."""
    with pytest.raises(DatasetError, match="a log of 1 events is too short"):
        train_by_time(make_log([("u", "a", 0)]), data_set="x", date=DATE, show_progress=False)


def test_commands_train_and_publish_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a CSV file to a bundle by the two commands, with a comparison printed in between."""
    monkeypatch.setattr(commands, "choose", quick_recipe(QUICKER))
    lines = ["uid,item,time"]
    log = cyclic_log()
    lines += [
        f"{user},{item},{at}"
        for user, item, at in zip(log.users, log.items, log.times_ms, strict=True)
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    console = Console(file=io.StringIO(), width=120)
    commands.train_model(
        "file",
        path=tmp_path / "log.csv",
        out=tmp_path / "model",
        fields=commands.column_mapping(["user=uid"]),
        console=console,
    )
    published = commands.publish_model(tmp_path / "model", out=tmp_path / "bundle", console=console)
    assert load_bundle(tmp_path / "bundle").version == published.version
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "40 users, 12 items, 360 events" in printed
    assert "popularity" in printed
    assert "sequential-rules" in printed
    assert published.version in printed


def test_a_column_mapping_without_a_column_is_refused() -> None:
    """The wrong pair is shown with the form it should have."""
    with pytest.raises(DatasetError, match=r"\['user'\]: write each as ROLE=COLUMN"):
        commands.column_mapping(["item=sku", "user"])
