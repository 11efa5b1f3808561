"""The catalogue's cross-entropy in pieces against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training import softmax
from training.softmax import Places, catalogue_loss, plain


def case(rows: int, items: int, places: int, *, bias: bool) -> tuple[list[Tensor], Places, Tensor]:
    """Leaves (x, table, bias, extra) in double precision, the places and the targets."""
    torch.manual_seed(rows)
    x, table = torch.randn(rows, 8, dtype=torch.float64), torch.randn(items, 8, dtype=torch.float64)
    at = torch.randperm(rows * items)[:places].sort().values
    leaves = [x, table, torch.randn(places, dtype=torch.float64)]
    leaves += [torch.randn(items, dtype=torch.float64)] if bias else []
    for leaf in leaves:
        leaf.requires_grad_()
    return leaves, Places(at // items, at % items, leaves[2]), torch.randint(0, items, (rows,))


@pytest.mark.parametrize("elements", [1, 100, 10_000])
@pytest.mark.parametrize("bias", [True, False])
def test_pieces_equal_the_definition(elements: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and every gradient, whether a piece is one row, a few, or all; the factor from outside counts."""
    monkeypatch.setattr(softmax, "ELEMENTS", elements)
    leaves, places, target = case(23, 31, 40, bias=bias)
    found = []
    for loss in (plain, catalogue_loss):
        value = loss(leaves[0], leaves[1], leaves[3] if bias else None, places, target)
        found.append([value.detach(), *torch.autograd.grad(3.0 * value, leaves)])
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected)


def test_nothing_to_learn_costs_nothing() -> None:
    """No row gives 0 and gradients of 0."""
    leaves, _, target = case(1, 5, 1, bias=False)
    none = torch.zeros(0, dtype=torch.int64)
    loss = catalogue_loss(leaves[0][:0], leaves[1], None, Places(none, none, leaves[2][:0]), target[:0])
    assert loss.item() == 0.0
    assert torch.autograd.grad(loss, leaves[1])[0].abs().sum() == 0


def test_large_logits_do_not_overflow() -> None:
    """A logit of 1,000 costs the difference to the wanted one."""
    x, table = torch.tensor([[1.0]]), torch.tensor([[1000.0], [0.0]])
    none = torch.zeros(0, dtype=torch.int64)
    assert catalogue_loss(x, table, None, Places(none, none, torch.zeros(0)), torch.tensor([1])).item() == 1000.0
