"""Losses against their definitions."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.network import Network
from training.fit.losses import click_loss, next_item_loss
from training.measure.targets import ClickTargets


def events(items: list[list[int]], mask: list[list[bool]]) -> Sequences:
    """A batch in which only items and mask matter."""
    rows = torch.tensor(items)
    return Sequences(rows, rows * 0, rows * 0, torch.tensor(mask))


def loss_of(logits: torch.Tensor, batch: Sequences) -> torch.Tensor:
    """The loss of given logits: encodings against a table of unit vectors."""
    return next_item_loss(logits, batch, torch.eye(logits.shape[-1]), None, None)


def test_next_item_loss_is_log_of_the_catalogue_for_equal_logits() -> None:
    """Uniform scores over 5 items cost ln 5 a target."""
    loss = loss_of(torch.zeros(1, 3, 5), events([[0, 1, 2]], [[True] * 3]))
    assert math.isclose(loss.item(), math.log(5), rel_tol=1e-6)


def test_next_item_loss_skips_padding_and_hashed_targets() -> None:
    """Only the one real catalogue target counts, by its own logit,
    and only the position before it learns.
    """
    logits = torch.zeros(1, 4, 3, requires_grad=True)
    loss = loss_of(logits, events([[0, 1, 3, 3]], [[True, True, True, False]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isclose(loss.item(), math.log(3), rel_tol=1e-6)
    assert logits.grad is not None
    assert logits.grad[0, 1:].abs().sum() == 0
    torch.testing.assert_close(logits.grad[0, 0], torch.tensor([1 / 3, -2 / 3, 1 / 3]))


def test_next_item_loss_equals_the_cross_entropy_of_the_networks_logits() -> None:
    """With item bias and membership, repeats beyond its reach,
    hashed items and padding: value and gradients.
    """
    torch.manual_seed(0)
    items = 6
    length = 40
    network = Network(ModelConfig(ring_length=8, tail_length=8, hashed_items=2), items)
    nn.init.normal_(network.item_bias)
    nn.init.normal_(network.membership.bias)
    rows = torch.randint(0, items + 2, (3, length))
    mask = torch.arange(length) < torch.tensor([40, 25, 3])[:, None]
    batch = Sequences(rows, rows * 0, torch.arange(length).expand(3, -1) * 1000, mask)
    table = network.embedding.item.weight[:items]
    bias = network.item_bias[:items]

    encoding = network.encode(batch)
    usable = mask[:, 1:] & (rows[:, 1:] < items)
    logits = network.next_item_logits(encoding, batch)[:, :-1]
    plain = cross_entropy(logits[usable], rows[:, 1:][usable])
    found = next_item_loss(encoding.sequence, batch, table, bias, network.membership)
    torch.testing.assert_close(found, plain)
    leaves = [
        network.embedding.item.weight,
        network.item_bias,
        network.membership.bias,
        network.ssm.out.weight,
    ]
    expected = torch.autograd.grad(plain, leaves, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(found, leaves), expected, rtol=1e-4, atol=1e-6)


def test_losses_without_any_target_are_zero() -> None:
    """A batch with nothing to learn gives 0, not a division by zero."""
    assert loss_of(torch.zeros(1, 2, 3), events([[0, 3]], [[True, True]])).item() == 0.0
    nothing = ClickTargets(
        *(torch.zeros(1, 1, dtype=torch.int64),) * 3, torch.zeros(1, 1, 2), torch.zeros(1, 1)
    )
    assert click_loss(torch.zeros(1, 1, 2), nothing).item() == 0.0


def test_click_loss_averages_valid_candidates() -> None:
    """Logits of 0 cost ln 2; an invalid position changes nothing."""
    labels = torch.tensor([[[True, False], [True, True]]])
    at = torch.zeros(1, 2, dtype=torch.int64)
    targets = ClickTargets(
        at, at[..., None].expand(1, 2, 2), at, labels, torch.tensor([[True, False]])
    )
    logits = torch.tensor([[[0.0, 0.0], [-50.0, -50.0]]])
    assert math.isclose(click_loss(logits, targets).item(), math.log(2), rel_tol=1e-6)
