"""Losses against their definitions."""

from __future__ import annotations

import math

import torch

from model.embedding import Sequences
from training.losses import click_loss, next_item_loss
from training.targets import ClickTargets


def events(items: list[list[int]], mask: list[list[bool]]) -> Sequences:
    """A batch in which only items and mask matter."""
    rows = torch.tensor(items)
    return Sequences(rows, rows * 0, rows * 0, torch.tensor(mask))


def test_next_item_loss_is_log_of_the_catalogue_for_equal_logits() -> None:
    """Uniform scores over 5 items cost ln 5 a target."""
    loss = next_item_loss(torch.zeros(1, 3, 5), events([[0, 1, 2]], [[True] * 3]))
    assert math.isclose(loss.item(), math.log(5), rel_tol=1e-6)


def test_next_item_loss_skips_padding_and_hashed_targets() -> None:
    """Only the one real catalogue target counts, by its own logit, and only the position before it learns."""
    logits = torch.zeros(1, 4, 3, requires_grad=True)
    loss = next_item_loss(logits, events([[0, 1, 3, 3]], [[True, True, True, False]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isclose(loss.item(), math.log(3), rel_tol=1e-6)
    assert logits.grad is not None
    assert logits.grad[0, 1:].abs().sum() == 0
    torch.testing.assert_close(logits.grad[0, 0], torch.tensor([1 / 3, -2 / 3, 1 / 3]))


def test_losses_without_any_target_are_zero() -> None:
    """A batch with nothing to learn gives 0, not a division by zero."""
    assert next_item_loss(torch.zeros(1, 2, 3), events([[0, 3]], [[True, True]])).item() == 0.0
    nothing = ClickTargets(*(torch.zeros(1, 1, dtype=torch.int64),) * 3, torch.zeros(1, 1, 2), torch.zeros(1, 1))
    assert click_loss(torch.zeros(1, 1, 2), nothing).item() == 0.0


def test_click_loss_averages_valid_candidates() -> None:
    """Logits of 0 cost ln 2; an invalid position changes nothing."""
    labels = torch.tensor([[[True, False], [True, True]]])
    at = torch.zeros(1, 2, dtype=torch.int64)
    targets = ClickTargets(at, at[..., None].expand(1, 2, 2), at, labels, torch.tensor([[True, False]]))
    logits = torch.tensor([[[0.0, 0.0], [-50.0, -50.0]]])
    assert math.isclose(click_loss(logits, targets).item(), math.log(2), rel_tol=1e-6)
