"""Losses against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.network import Network
from tests.training.logs import make_log
from training.data.sequences import Histories, Vocabulary
from training.fit.losses import list_loss, next_item_loss
from training.measure.targets import Lists, ListSampler

DRAWS = 400


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
    nn.init.normal_(network.membership.often)
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
        network.membership.often,
        network.ssm.out.weight,
    ]
    expected = torch.autograd.grad(plain, leaves, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(found, leaves), expected, rtol=1e-4, atol=1e-6)


def test_losses_without_any_target_are_zero() -> None:
    """A batch with nothing to learn gives 0, not a division by zero."""
    assert loss_of(torch.zeros(1, 2, 3), events([[0, 3]], [[True, True]])).item() == 0.0
    at = torch.zeros(1, 1, dtype=torch.int64)
    nothing = Lists(at, at[..., None], at, torch.zeros(1, 1, 2), torch.zeros(1, 1).bool())
    assert list_loss(torch.zeros(1, 1, 2), nothing).item() == 0.0


def test_list_loss_takes_out_how_often_candidates_are_drawn() -> None:
    """By hand: a candidate drawn twice as often as it exists counts half,
    the next item drawn again counts once, an invalid position not at all.
    """
    at = torch.zeros(1, 2, dtype=torch.int64)
    expected = torch.tensor([[[0.0, math.log(2), math.inf], [0.0, 0.0, 0.0]]])
    lists = Lists(at, at[..., None].expand(1, 2, 3), at, expected, torch.tensor([[True, False]]))
    logits = torch.tensor([[[0.0, math.log(6), 5.0], [-50.0, 0.0, 0.0]]])
    assert list_loss(logits, lists).item() == pytest.approx(math.log(1 + 3))


@pytest.mark.parametrize("guided", ["by all", "by some", ""])
def test_drawn_lists_stand_for_the_whole_catalogue(guided: str) -> None:
    """Over many draws, from the model's own softmax, over all or some, or without it, loss and
    gradient of all logits come near those of the exact softmax; the same draw without the
    correction does not.
    """
    log = make_log([(f"u{user}", chr(97 + item), item) for user in range(9) for item in range(9)])
    histories = Histories.of(log, Vocabulary.of(log, hashed=2))
    items = 9
    torch.manual_seed(0)
    own = torch.randn(1, items)
    logits = (own + 0.5 * torch.randn(1, items)).requires_grad_()
    sampler = ListSampler(histories, items)
    begins = np.zeros(1, dtype=np.int64)
    at = np.full((1, 1), 3)
    random = np.random.default_rng(0)
    some = torch.tensor([0, 2, 3, 4, 5, 7, 8])
    loss = torch.zeros(())
    wrong = torch.zeros(())
    for _ in range(DRAWS):
        if guided == "by some":
            drawn = sampler.draw_among(begins, at, own[:, some], some, 6, random)
        else:
            drawn = sampler.draw(begins, at, own if guided else None, 6, random)
        asked = logits[0, drawn.candidates]
        loss = loss + list_loss(asked, drawn) / DRAWS
        free = drawn.expected.where(drawn.expected.isinf(), 0)
        wrong = wrong + list_loss(asked, drawn._replace(expected=free)) / DRAWS
    target = torch.from_numpy(histories.items[4:5])
    exact = cross_entropy(logits, target)
    assert loss.item() == pytest.approx(exact.item(), abs=0.06)
    of_loss, of_wrong, of_exact = (
        torch.autograd.grad(each, logits, retain_graph=True)[0].flatten()
        for each in (loss, wrong, exact)
    )
    assert torch.cosine_similarity(of_loss, of_exact, dim=0) > 0.98
    assert (of_loss - of_exact).norm() < (of_wrong - of_exact).norm()
