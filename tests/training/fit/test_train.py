"""The training loop: it learns, repeats itself, stops, and checks its settings."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys

import pytest
import torch

from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import TrainingError
from training.fit.harness import Schedule, pick_device
from training.fit.train import TrainConfig, TrainedModel, train
from training.measure.evaluate import NetworkRanker, rank

# next item by the sequence state, by the head
GOLDEN = [(1.9317, 1.8568), (1.0425, 0.9727), (0.634, 0.5005), (0.5061, 0.3143)]


def fit(settings: TrainConfig) -> tuple[TrainedModel, Held]:
    """Train on the circle walkers; their last event is the test,
    the one before it the validation.
    """
    torch.set_num_threads(1)
    log = cyclic_log()
    vocabulary = Vocabulary.of(log, hashed=8)
    everything = Histories.of(log, vocabulary)
    held = Held.last(everything.without_last(1))
    model = train(
        SHAPE, settings, vocabulary, everything.without_last(2), held, show_progress=False
    )
    return model, Held.last(everything)


def test_golden_loss_curve() -> None:
    """A fixed seed gives this curve; it may change only on purpose."""
    model, test = fit(QUICK)
    curve = [(line.next_item, line.click) for line in model.history]
    assert curve == [pytest.approx(line, rel=1e-2) for line in GOLDEN]
    assert rank(NetworkRanker(model.network), test, 12).summary(1)["hr1"] > 0.8


def test_a_seed_repeats_and_another_differs() -> None:
    """Equal seeds give equal weights to the bit; other seeds do not."""
    short = dataclasses.replace(QUICK, epochs=1)
    first, again, other = (fit(dataclasses.replace(short, seed=seed))[0] for seed in (0, 0, 1))
    weights = [model.network.embedding.item.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    """With a learning rate that destroys the model, the first epochs' weights are returned."""
    model, _ = fit(dataclasses.replace(QUICK, epochs=30, patience=1, learning_rate=0.5))
    assert len(model.history) < 30
    assert model.best.ndcg10 == max(line.ndcg10 for line in model.history)


def test_a_budget_in_minutes_ends_the_training() -> None:
    """A budget far below the schedule's length still gives a model,
    and its schedule reaches the end.
    """
    model, _ = fit(dataclasses.replace(QUICK, epochs=1000, patience=1000, minutes_max=0.01))
    assert 1 <= len(model.history) < 100


@pytest.mark.parametrize("part", ["next_item_weight", "click_weight", "negativity_weight"])
def test_each_loss_can_be_switched_off(part: str) -> None:
    """A loss of weight 0 is not computed at all."""
    model, _ = fit(dataclasses.replace(QUICK, epochs=1, **{part: 0.0}))
    assert getattr(model.history[0], part.removesuffix("_weight")) == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"dropout": 1.0}, r"dropout = 1.0 must be in \[0, 1\)"),
        ({"minutes_max": 0.0}, "minutes_max = 0.0 must be above 0"),
        ({"next_item_weight": 0.0, "click_weight": 0.0}, "nothing would be learned"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, float], message: str) -> None:
    """Each mistake in a recipe has its own message."""
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)  # type: ignore[arg-type]


def test_an_unusable_device_is_named() -> None:
    """A device that does not exist is refused with advice."""
    with pytest.raises(TrainingError, match="try --device auto"):
        pick_device("warp")
    assert pick_device("cpu").type == "cpu"


def test_learning_rate_warms_up_and_fades() -> None:
    """From near 0 to 1 at the end of the warm-up, then down to 0."""
    schedule = Schedule(TrainConfig(warmup=0.1))
    values = []
    for step in range(101):
        schedule.advance(step / 100)
        values.append(schedule.rate())
    assert values[0] < 0.02
    assert max(values) == values[10] == 1.0
    assert values[100] == pytest.approx(0.0)
    assert values[10:] == sorted(values[10:], reverse=True)


def test_numpy_takes_one_thread() -> None:
    """The library of NumPy's wheels says so itself; without it the answer is no."""
    command = """
import ctypes, numpy
from training.fit.allocation import OPENBLAS, one_thread_of_numpy
told = one_thread_of_numpy()
paths = {line.split()[-1] for line in open("/proc/self/maps") if OPENBLAS in line}
threads = [getattr(ctypes.CDLL(path), OPENBLAS + "_get_num_threads64_")() for path in paths]
print(told, threads)
"""
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in {"True [1]", "False []"}


def test_the_allocator_takes_its_settings() -> None:
    """Under glibc all three settings are accepted; elsewhere the answer is no, without harm."""
    command = "from training.fit.allocation import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
