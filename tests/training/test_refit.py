"""The second training, on the whole log: what it learns, what is said of it, how it goes on."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from rich.console import Console

from model.network.embedding import Sequences
from model.network.network import Network
from tests.training.fit.killed_training import Killed, Looking, kill_at
from tests.training.logs import cyclic_log, make_log
from tests.training.quick_training import QUICK, QUICKER, SHAPE, quick_recipe
from training import commands, refit
from training.data.clicklog import ClickLog, joined
from training.data.sequences import Vocabulary
from training.errors import DatasetError
from training.fit.checkpoint import MODEL, Checkpoint
from training.fit.keeper import KEPT, KEPT_NEXT
from training.fit.schedule import Schedule
from training.pilot.questions import hold_out
from training.publish import unpublished
from training.refit import MEASURED_ON, SHARE
from training.runs import Run, train_by_time

OLD = cyclic_log()
NEWEST_MS = int(OLD.times_ms.max())


def with_news() -> ClickLog:
    """The circle walkers, and some of them at two new items, one after the other, at the end."""
    news = [
        (f"user-{user}", item, NEWEST_MS + 1_000 * (1 + 8 * place + user))
        for place, item in enumerate(("new-a", "new-b"))
        for user in range(8)
    ]
    return joined([OLD, make_log(news)])


def run(keeper: Looking | None = None, *, whole: bool = True) -> Run:
    """Train on the circle walkers and the news."""
    return train_by_time(
        with_news(),
        data_set="circle",
        date="2026-01-01",
        shape=SHAPE,
        settings=dataclasses.replace(QUICK, epochs=6, dropout=0.1, learning_rate=2e-3),
        show_progress=False,
        keeper=keeper,
        whole=whole,
    )


@pytest.fixture(scope="module")
def whole() -> Run:
    """The two trainings that nobody interrupts."""
    return run()


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, int]:
    """The first of them alone, and how often its keeper looked."""
    keeper = Looking(tmp_path_factory.mktemp("first"))
    return run(keeper, whole=False), keeper.looks


def weights(checkpoint: Checkpoint) -> list[torch.Tensor]:
    """All parameters."""
    return list(checkpoint.network.state_dict().values())


def logit(checkpoint: Checkpoint) -> float:
    """The next-item logit of new-b after new-a, above the mean of all items."""
    network = checkpoint.network
    vocabulary = Vocabulary(
        items=checkpoint.items, actions=network.config.actions, hashed=network.config.hashed_items
    )
    seen = vocabulary.item_rows(np.array(["item-0", "item-1", "new-a"], dtype=object))
    events = Sequences(
        items=torch.from_numpy(seen)[None],
        actions=torch.zeros(1, 3, dtype=torch.int64),
        times_ms=torch.tensor([[1_000, 2_000, 3_000]]),
        mask=torch.ones(1, 3, dtype=torch.bool),
    )
    with torch.no_grad():
        encoded = network.encode(events).sequence[0, -1]
        logits = network.embedding.item.weight[: network.items] @ encoded
        logits += network.item_bias[: network.items]
    return float(logits[checkpoint.items.index("new-b")] - logits.mean())


def test_what_only_the_newest_tenth_has_is_learned(whole: Run, held_out: tuple[Run, int]) -> None:
    """The item's row is trained, its count is known; the held-out model has neither."""
    row = whole.checkpoint.items.index("new-b")
    assert whole.checkpoint.counts[row] == 8
    assert whole.checkpoint.counts.sum() == len(with_news())
    assert whole.checkpoint.answering[row] > 0
    before = held_out[0].checkpoint
    assert before.counts[row] == 0
    assert not all(map(torch.equal, weights(before), weights(whole.checkpoint)))
    assert logit(whole.checkpoint) > logit(before) + 1.0


def test_what_is_said_of_it_was_measured_before(whole: Run, held_out: tuple[Run, int]) -> None:
    """Calibration, order and figures are the held-out model's; the log's end is the training's."""
    before, _ = held_out
    assert np.array_equal(whole.checkpoint.calibration, before.checkpoint.calibration)
    assert whole.checkpoint.recommend == before.checkpoint.recommend
    assert whole.test == before.test
    said = whole.checkpoint.metadata
    assert said["measured_on"] == MEASURED_ON
    assert said["trained_until_ms"] == int(with_news().times_ms.max())
    assert "measured_on" not in before.checkpoint.metadata
    assert before.checkpoint.metadata["trained_until_ms"] < said["trained_until_ms"]
    assert said["validation"] == before.checkpoint.metadata["validation"]


@pytest.mark.parametrize("later", [1, 4, 10])
def test_a_refit_that_is_killed_goes_on_to_the_same_weights(
    tmp_path: Path, whole: Run, held_out: tuple[Run, int], later: int
) -> None:
    """At its first step, within an epoch, in a later one; the first training is not done again."""
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(held_out[1] + later)))
    assert {file.name for file in tmp_path.iterdir()} == {KEPT, KEPT_NEXT}
    heard: list[str] = []
    again = Looking(tmp_path, resume=True, say=heard.append)
    resumed = run(again)
    assert again.looks == 0
    assert "of the refit, after" in heard[1]
    assert all(map(torch.equal, weights(resumed.checkpoint), weights(whole.checkpoint)))
    again.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_is_killed_before_its_refit_has_one_all_the_same(
    tmp_path: Path, whole: Run
) -> None:
    """Resumed in the first phase, the second begins by itself."""
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(3)))
    assert [file.name for file in tmp_path.iterdir()] == [KEPT]
    resumed = run(Looking(tmp_path, resume=True))
    assert all(map(torch.equal, weights(resumed.checkpoint), weights(whole.checkpoint)))


def test_a_refit_that_learned_nothing_does_not_ship(
    held_out: tuple[Run, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Worse on the newest clicks than the model that never saw them: that one is kept, and said."""

    class Empty(NamedTuple):
        network: Network

    monkeypatch.setattr(refit, "train", lambda *_, **__: Empty(Network(SHAPE, 14).eval()))
    kept = run()
    assert "so that one is kept" in capsys.readouterr().err
    assert "measured_on" not in kept.checkpoint.metadata
    assert all(map(torch.equal, weights(kept.checkpoint), weights(held_out[0].checkpoint)))


def test_minutes_hold_for_both() -> None:
    """The first has its share of them, of which steps get half at least."""
    settings = dataclasses.replace(QUICK, minutes_max=1.0)
    assert Schedule(settings, share=SHARE).limit_s() == 30.0
    first = Schedule(settings, share=SHARE)
    first.reserve(10.0)
    assert first.limit_s() == 20.0
    first.reserve(300.0)
    assert first.limit_s() == 15.0


def command(path: Path, **more: Any) -> str:
    """What `echorank train file` prints, whose model goes to `path`/model."""
    log = with_news()
    rows = zip(log.users, log.items, log.times_ms, strict=True)
    (path / "log.csv").write_text(
        "user,item,time\n" + "".join(f"{user},{item},{at}\n" for user, item, at in rows)
    )
    printed = io.StringIO()
    console = Console(file=printed, width=120)
    commands.train_model("file", path=path / "log.csv", out=path / "model", console=console, **more)
    return printed.getvalue()


def test_the_command_learns_from_the_whole_log_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which; of the whole log, nothing is left to ask, and --hold-out is named."""
    monkeypatch.setattr(commands, "choose", quick_recipe(QUICKER))
    assert "trained once more on the whole log" in command(tmp_path)
    log = with_news()

    def asked() -> Any:
        checkpoint = Checkpoint.load(tmp_path / "model")
        bundle = unpublished(checkpoint.network, checkpoint.items, checkpoint.counts)
        return hold_out(log, bundle, checkpoint.metadata, by_time=True)

    with pytest.raises(DatasetError, match=r"no click is left to ask about.*--hold-out"):
        asked()
    assert "The newest tenth is held out" in command(tmp_path, hold_out=True)
    assert asked().held.tails.sum() > 0
    assert not {KEPT, KEPT_NEXT} & {file.name for file in (tmp_path / "model").iterdir()}
    assert (tmp_path / "model" / MODEL).exists()
