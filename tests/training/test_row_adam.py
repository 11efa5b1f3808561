"""Rows that are trained and averaged when they are touched, against torch's dense optimizer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from training.row_adam import RowAdam

ROWS = 9
BETAS = (0.9, 0.98)
DECAY = 0.1


def tables() -> tuple[nn.Embedding, nn.Embedding, RowAdam]:
    """A table, its average and what trains both."""
    torch.manual_seed(0)
    table = nn.Embedding(ROWS, 4, sparse=True, dtype=torch.float64)
    averaged = copy.deepcopy(table)
    return table, averaged, RowAdam(table, averaged, betas=BETAS, weight_decay=DECAY)


def looked_up(step: int, everything: bool) -> Tensor:
    """The rows of a step, one of them twice."""
    torch.manual_seed(step)
    return torch.arange(ROWS) if everything else torch.randint(0, ROWS - 1, (4,)).repeat(2)


def walk(everything: bool, steps: int = 30) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Weights and average after some steps, and the weights after each."""
    table, averaged, adam = tables()
    after = []
    for step in range(steps):
        table.weight.grad = None
        rows = looked_up(step, everything)
        (table(rows) * torch.randn(len(rows), 4, dtype=torch.float64)).sum().backward()
        adam.gather()
        adam.step(1e-2 / (1 + step), decay_of(step))
        after.append(table.weight.detach().clone())
    adam.settle()
    return after[-1], averaged.weight.detach(), after


def decay_of(step: int) -> float:
    """Of the average, from nothing on."""
    return step / (4.0 + step)


def test_rows_that_are_always_touched_go_where_adamw_takes_them() -> None:
    """Weights and average, with a rate that changes and weight decay."""
    table, averaged, _ = tables()
    dense = nn.Parameter(table.weight.detach().clone())
    optimizer = torch.optim.AdamW([dense], betas=BETAS, weight_decay=DECAY)
    for step in range(30):
        rows = looked_up(step, everything=True)
        optimizer.zero_grad()
        (dense[rows] * torch.randn(len(rows), 4, dtype=torch.float64)).sum().backward()
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        optimizer.step()
        get_ema_multi_avg_fn(decay_of(step))([averaged.weight], [dense], 0)
    weights, average, _ = walk(everything=True)
    torch.testing.assert_close(weights, dense.detach())
    torch.testing.assert_close(average, averaged.weight.detach())


def test_a_row_goes_where_adamw_takes_it_in_the_steps_that_touch_it() -> None:
    """Each by itself; one that is never touched stays, its average too."""
    weights, average, _ = walk(everything=False)
    start, _, _ = tables()
    for row in range(ROWS):
        dense = nn.Parameter(start.weight[row].detach().clone())
        optimizer = torch.optim.AdamW([dense], betas=BETAS, weight_decay=DECAY)
        for step in range(30):
            rows = looked_up(step, everything=False)
            slopes = torch.randn(len(rows), 4, dtype=torch.float64)
            if row in rows:
                dense.grad = slopes[rows == row].sum(dim=0)
                optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
                optimizer.step()
        torch.testing.assert_close(weights[row], dense.detach())
    assert torch.equal(weights[-1], start.weight[-1].detach())
    torch.testing.assert_close(average[-1], start.weight[-1].detach())


def test_the_average_is_as_if_made_at_every_step() -> None:
    """However long a row was not touched."""
    _, average, after = walk(everything=False)
    expected = tables()[0].weight.detach().clone()
    for step, weights in enumerate(after):
        expected = decay_of(step) * expected + (1 - decay_of(step)) * weights
    torch.testing.assert_close(average, expected)


def test_what_is_kept_goes_on_to_the_bit() -> None:
    """Moments, counts and the average's place come back."""
    table, averaged, adam = tables()
    for step in range(6):
        if step == 3:
            state = copy.deepcopy(adam.state())
            table, averaged = copy.deepcopy((table, averaged))
            adam = RowAdam(table, averaged, betas=BETAS, weight_decay=DECAY)
            adam.restore(state)
        table.weight.grad = None
        rows = looked_up(step, everything=False)
        (table(rows) * torch.randn(len(rows), 4, dtype=torch.float64)).sum().backward()
        adam.gather()
        adam.step(1e-2 / (1 + step), decay_of(step))
    adam.settle()
    weights, average, _ = walk(everything=False, steps=6)
    assert torch.equal(table.weight.detach(), weights)
    assert torch.equal(averaged.weight.detach(), average)


def test_a_step_without_gradients_moves_the_average_only() -> None:
    """As a batch in which nothing counts gives none."""
    table, _, adam = tables()
    before = table.weight.detach().clone()
    assert not len(adam.gather())
    adam.step(1.0, 0.5)
    assert torch.equal(table.weight.detach(), before)
