"""The catalogue's cross-entropy in pieces against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.fit import softmax
from training.fit.softmax import Guide, Places, catalogue_loss, plain


def case(rows: int, items: int, places: int) -> tuple[list[Tensor], Places, Tensor]:
    """Leaves (x, table, extra, bias) in double precision, the places and the targets."""
    torch.manual_seed(rows)
    sizes = (rows, 8), (items, 8), (places,), (items,)
    leaves = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    at = torch.randperm(rows * items)[:places].sort().values
    return leaves, Places(at // items, at % items, leaves[2]), torch.randint(0, items, (rows,))


@pytest.mark.parametrize("elements", [1, 100, 10_000])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weight", [None, 0.3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pieces_equal_the_definition(
    elements: int,
    bias: bool,
    weight: float | None,
    smoothing: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Value and every gradient, whether a piece is one row, a few, or all;
    the factor from outside counts.
    """
    monkeypatch.setattr(softmax, "ELEMENTS", elements)
    leaves, places, target = case(23, 31, 40)
    others, _, _ = case(23, 31, 40)
    guide = (
        None
        if weight is None
        else Guide(*(others[part].detach() * 2 for part in (0, 1, 3, 2)), weight)
    )
    wanted = leaves if bias else leaves[:3]
    found = []
    for loss in (plain, catalogue_loss):
        of_items = leaves[3] if bias else None
        value = loss(leaves[0], leaves[1], of_items, places, target, guide, smoothing)
        found.append([value.detach(), *torch.autograd.grad(3.0 * value, wanted)])
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected)


def test_nothing_to_learn_costs_nothing() -> None:
    """No row gives 0 and gradients of 0."""
    leaves, _, target = case(1, 5, 1)
    none = torch.zeros(0, dtype=torch.int64)
    loss = catalogue_loss(
        leaves[0][:0], leaves[1], None, Places(none, none, leaves[2][:0]), target[:0]
    )
    assert loss.item() == 0.0
    assert torch.autograd.grad(loss, leaves[1])[0].abs().sum() == 0


def test_large_logits_do_not_overflow() -> None:
    """A logit of 1,000 costs the difference to the wanted one."""
    x = torch.tensor([[1.0]])
    table = torch.tensor([[1000.0], [0.0]])
    none = torch.zeros(0, dtype=torch.int64)
    assert (
        catalogue_loss(x, table, None, Places(none, none, torch.zeros(0)), torch.tensor([1])).item()
        == 1000.0
    )
