"""Several workers: equal parts, averaged gradients, equal weights;
and a clear word when one of them fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.training.deadly import Deadly
from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE
from training.data.sequences import Histories, Windows
from training.distributed import started, train_together
from training.errors import TrainingError
from training.runs import leave_one_out
from training.workers import Alone, Group


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    """A group of one process."""
    dist.init_process_group(
        "gloo", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1
    )
    yield Group(seed=3)
    dist.destroy_process_group()


def plan_of(count: int) -> list[Windows]:
    """So many batches, numbered."""
    return [Windows(np.array([number]), np.array([number + 2])) for number in range(count)]


def test_every_batch_has_a_worker_and_all_have_equally_many(group: Group) -> None:
    """Seven batches for three workers: three each, nothing left out, two twice."""
    group.size = 3
    parts = []
    for group.rank in range(3):
        parts.append([int(windows.begins[0]) for windows in group.part(plan_of(7))])
    assert {len(part) for part in parts} == {3}
    assert set().union(*parts) == set(range(7))


def test_workers_differ_in_what_they_draw(group: Group) -> None:
    """Negatives and dropout are each worker's own, whatever the shared generator is at."""
    drawn = []
    for group.rank in range(2):
        random = group.own(np.random.default_rng(0))
        drawn.append((random.random(), torch.rand(1).item()))
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_one_process_of_a_group_averages_like_one_alone(group: Group) -> None:
    """The mean over one is the thing itself,
    also of gradients of different shapes and missing ones.
    """
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (4,), (1,))]
    (parameters[0].sum() * 2 + (parameters[1] * torch.arange(4.0)).sum()).backward()
    before = [
        None if parameter.grad is None else parameter.grad.clone() for parameter in parameters
    ]
    for workers in (Alone(), group):
        workers.average_gradients(parameters)
        for parameter, gradient in zip(parameters, before, strict=True):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(torch.as_tensor(parameter.grad), gradient)
        assert workers.first(lambda: 7) == 7
        assert workers.gather(7) == [7]


def test_every_held_out_event_has_a_worker() -> None:
    """Three workers' shares are those of all, each user's events with one worker."""
    held = leave_one_out(cyclic_log(), SHAPE).held
    shares = np.stack([held.share(number, 3).tails for number in range(3)])
    assert np.array_equal(shares.sum(axis=0), held.tails)
    assert (np.count_nonzero(shares, axis=0) <= 1).all()
    assert (shares.sum(axis=1) > 0).all()


@pytest.mark.ray
def test_two_workers_learn_together_and_a_dead_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The loss falls and the weights are equal, which `train_together` checks;
    a crash saves nothing and says so.

    Each epoch is told as it ends, by the first worker alone.
    """
    parts = leave_one_out(cyclic_log(), SHAPE)
    settings = dataclasses.replace(QUICK, device="cpu")
    with started(2):
        model = train_together(2, SHAPE, settings, parts.vocabulary, parts.training, parts.held)
        losses = [line.next_item for line in model.history]
        assert losses[-1] < 0.6 * losses[0]
        assert model.best.ndcg10 > 0.9
        told = [
            line.split(":")[0]
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("epoch")
        ]
        assert told == [f"epoch {line.epoch + 1}" for line in model.history]
        columns = {
            field.name: getattr(parts.training, field.name)
            for field in dataclasses.fields(Histories)
        }
        with pytest.raises(
            TrainingError, match=r"training with 2 workers failed \(.*worker 1: .*nothing was saved"
        ):
            train_together(2, SHAPE, settings, parts.vocabulary, Deadly(**columns), parts.held)
