"""Rows that are trained and averaged when they are touched, against torch's dense optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from training.row_adam import EPSILON, RowAdam

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


def test_rare_rows_go_where_adamw_takes_them() -> None:
    """Rows whose gradients are far apart and differ in size; the first comes late, so that what
    AdamW corrects at its start is over. Weight decay counts all steps.
    """
    table, _, adam = tables()
    dense = nn.Parameter(table.weight.detach().clone())
    optimizer = torch.optim.AdamW([dense], lr=1e-3, betas=BETAS, weight_decay=DECAY)
    size = {400: 1.0, 600: -0.1, 800: 3.0}
    for step in range(1000):
        table.weight.grad = None
        dense.grad = torch.zeros_like(dense)
        if step in size:
            (size[step] * table(torch.tensor([2, 5]))).sum().backward()
            dense.grad[[2, 5]] = size[step]
        optimizer.step()
        adam.gather()
        adam.step(1e-3, 0.5)
    rows = torch.tensor([2, 5])
    still = (1 - 1e-3 * DECAY) ** (1000 - 801)  # the decay since the last step that touched them
    start = tables()[0].weight[rows].detach() * still
    moved = (dense[rows].detach() - start) / 1e-3
    found = (table.weight[rows].detach() * still - start) / 1e-3
    torch.testing.assert_close(found, moved, rtol=0.05, atol=0.05)
    assert torch.equal(table.weight[-1], tables()[0].weight[-1])


def test_a_step_is_that_of_the_equations() -> None:
    """Rows touched now and then, one of them twice in a step, by a loop over rows."""
    weights, _, _ = walk(everything=False)
    table, _, _ = tables()
    whole = (1 - BETAS[0]) / (1 - BETAS[0] / BETAS[1] ** 0.5)
    for row in range(ROWS):
        w = table.weight[row].detach().clone()
        v = torch.zeros_like(w)
        last = -1
        for step in range(30):
            rows = looked_up(step, everything=False)
            slopes = torch.randn(len(rows), 4, dtype=torch.float64)
            if row in rows:
                g = slopes[rows == row].sum(dim=0)
                rate = 1e-2 / (1 + step)
                v = BETAS[1] ** (step - last) * v + (1 - BETAS[1]) * g**2
                w = w * (1 - rate * DECAY) ** (step - last)
                w = w - rate * whole * g / ((v / (1 - BETAS[1] ** (step + 1))).sqrt() + EPSILON)
                last = step
        torch.testing.assert_close(weights[row], w)
    assert torch.equal(weights[-1], table.weight[-1].detach())


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


def test_betas_without_an_end_are_refused() -> None:
    """With advice."""
    table, averaged, _ = tables()
    with pytest.raises(ValueError, match="must be below the square root of the second"):
        RowAdam(table, averaged, betas=(0.9, 0.8), weight_decay=DECAY)
