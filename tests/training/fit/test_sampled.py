"""The sampled softmax against the full one, what is drawn, and a training by it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from model.network.embedding import Sequences
from model.network.network import Encoding, Network
from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE
from training.data.sequences import Histories, groups, pad, training_windows
from training.errors import TrainingError
from training.fit.losses import next_item_loss
from training.fit.sampled import (
    Candidates,
    Drawing,
    logits_among,
    own_items,
    sampled_next_item_loss,
)
from training.fit.softmax import Guide
from training.fit.train import CATALOGUE_MAX, TrainConfig, train
from training.measure.evaluate import NetworkRanker, next_item_logits_at, rank
from training.runs import leave_one_out
from training.workers import Alone

ITEMS = 60


def histories(users: int = 30) -> Histories:
    """Walks over items of which the first are the most frequent, with repeats."""
    random = np.random.default_rng(1)
    lengths = random.integers(2, 12, users)
    events = int(lengths.sum())
    return Histories(
        users=tuple(f"user-{user}" for user in range(users)),
        items=np.minimum(random.geometric(0.08, events), ITEMS) - 1,
        actions=np.zeros(events, dtype=np.int64),
        times_ms=60_000 * np.arange(events, dtype=np.int64),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
    )


def case() -> tuple[Network, Sequences, Tensor, Histories]:
    """A network in double precision, a batch, encodings that have a gradient, and the log."""
    torch.manual_seed(0)
    network = Network(SHAPE, ITEMS).double()
    for parameter in (network.embedding.item.weight, network.item_bias, network.membership.bias):
        torch.nn.init.normal_(parameter, std=0.5)
    log = histories()
    random = np.random.default_rng(0)
    windows = groups(training_windows(log, 9, random), 1000, random)[0]
    events = pad(log, windows).events
    encoded = 0.4 * torch.randn(*events.items.shape, SHAPE.width, dtype=torch.float64)
    return network, events, encoded.requires_grad_(), log


def pad_end(usable: Tensor) -> Tensor:
    """The last position of a window (B, L - 1) has no target."""
    return torch.nn.functional.pad(usable, (0, 1))


def whole(
    network: Network,
    encoded: Tensor,
    events: Sequences,
    guide: Guide | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """The full loss."""
    return next_item_loss(
        encoded,
        events,
        network.embedding.item.weight[:ITEMS],
        network.item_bias[:ITEMS],
        network.membership,
        None if guide is None else lambda *_: guide,
        smoothing,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("taught", [False, True])
def test_with_all_items_as_candidates_it_is_the_full_loss(taught: bool, smoothing: float) -> None:
    """Value and gradients, with membership's extras, what teachers say and smoothed labels."""
    network, events, encoded, _ = case()
    guide = None
    if taught:
        usable = pad_end(events.mask[:, 1:])
        seen = network.membership.seen(events.items, events.mask)
        kept = usable[seen.user, seen.position] & (seen.age < network.membership.reach)
        sizes = (int(usable.sum()), 5), (ITEMS, 5), (ITEMS,), (int(kept.sum()),)
        guide = Guide(*(torch.randn(size, dtype=torch.float64) for size in sizes), 0.4)
    everything = Candidates(torch.arange(ITEMS), torch.zeros(ITEMS))
    sampled = sampled_next_item_loss(
        network, encoded, events, everything, guide and (lambda *_: guide), smoothing
    )
    full = whole(network, encoded, events, guide, smoothing)
    wanted = [
        encoded,
        network.embedding.item.weight,
        network.item_bias,
        network.membership.bias,
    ]
    found = [[loss, *torch.autograd.grad(loss, wanted)] for loss in (full, sampled)]
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected)


def test_the_mean_of_many_draws_is_near_the_full_loss() -> None:
    """Of the loss and of its gradient; by a few drawn items, and without the weights it is not."""
    network, events, encoded, log = case()
    full = whole(network, encoded, events)
    (slope,) = torch.autograd.grad(full, encoded)
    random = np.random.default_rng(3)
    drawing = Drawing(log.counts(ITEMS), drawn=200)
    losses = []
    slopes = []
    plain = []
    for _ in range(150):
        candidates = drawing.candidates(events, random)
        loss = sampled_next_item_loss(network, encoded, events, candidates)
        slopes.append(torch.autograd.grad(loss, encoded)[0])
        losses.append(loss.detach())
        even = candidates._replace(weight=torch.zeros_like(candidates.weight))
        plain.append(sampled_next_item_loss(network, encoded, events, even).detach())
    close = abs(torch.stack(losses).mean() - full)
    assert close < 0.01 * full
    assert abs(torch.stack(plain).mean() - full) > 5 * close
    assert (torch.stack(slopes).mean(dim=0) - slope).norm() < 0.1 * slope.norm()


def test_sums_over_the_catalogue_are_estimated_without_bias() -> None:
    """Drawn items count as often as each stands in the catalogue, whatever its frequency."""
    _, events, _, log = case()
    random = np.random.default_rng(4)
    drawing = Drawing(log.counts(ITEMS), drawn=100)
    empty = events._replace(mask=torch.zeros_like(events.mask))
    summed = torch.zeros(ITEMS)
    for _ in range(400):
        items, weight = drawing.candidates(empty, random)
        summed[items] += weight.exp() / 400
    assert summed.mean().item() == pytest.approx(1.0, abs=0.02)
    assert summed.min() > 0.6
    assert summed.max() < 1.4


def test_an_item_that_a_row_has_anyway_counts_once_however_often_it_was_drawn() -> None:
    """Targets and the row's own past are not negatives by accident: any weight of theirs is out."""
    network, events, encoded, _ = case()
    one = events._replace(mask=events.mask & (torch.arange(len(events.items)) == 0)[:, None])
    held = one.items[one.mask].unique()
    others = torch.arange(ITEMS)[~torch.isin(torch.arange(ITEMS), held)]
    weight = torch.zeros(ITEMS)
    weight[held] = 3.0
    weight[others] = 0.5
    losses = []
    for of_held in (0.0, 3.0):
        weight[held] = of_held
        candidates = Candidates(torch.arange(ITEMS), weight.clone())
        losses.append(sampled_next_item_loss(network, encoded, one, candidates))
    torch.testing.assert_close(losses[0], losses[1])


def test_own_items_are_those_of_the_windows() -> None:
    """By a loop over rows; padding and hashed rows are none."""
    _, events, _, _ = case()
    known = ITEMS - 20  # the rest are hashed rows
    usable = pad_end(events.mask[:, 1:] & (events.items[:, 1:] < known))
    expected = []
    for row, (window, _) in enumerate(usable.nonzero().tolist()):
        items = events.items[window][events.mask[window]]
        expected += [(row, item) for item in items[items < known].unique().tolist()]
    row, items = own_items(events, usable, known)
    assert list(zip(row.tolist(), items.tolist(), strict=True)) == expected


def test_logits_among_some_items_are_those_of_the_catalogue() -> None:
    """With membership; events in hashed rows add nothing."""
    network, events, encoded, _ = case()
    items = events.items.clone()
    items[:, 0] = ITEMS + 3
    events = events._replace(items=items)
    some = items[items < ITEMS].unique()
    row = torch.arange(len(items))
    at = events.mask.sum(dim=1) - 2
    found = logits_among(network, encoded, events, some, row, at)
    encoding = Encoding(x=encoded, sequence=encoded)
    expected = next_item_logits_at(network, encoding, items, row, at)
    torch.testing.assert_close(found, expected[:, some])


def test_a_training_by_draws_learns_the_pattern() -> None:
    """Few drawn items a step teach the circle walkers' order, in the item table too."""
    torch.set_num_threads(1)
    parts = leave_one_out(cyclic_log(), SHAPE)
    settings = dataclasses.replace(QUICK, epochs=6, softmax="sampled", drawn=4)
    model = train(
        SHAPE, settings, parts.vocabulary, parts.training, parts.held, show_progress=False
    )
    assert rank(NetworkRanker(model.network), parts.test, 12).summary(1)["hr1"] > 0.8


def test_the_size_of_the_catalogue_chooses() -> None:
    """Full up to a size, unless the recipe says otherwise."""
    assert not TrainConfig().samples(CATALOGUE_MAX)
    assert TrainConfig().samples(CATALOGUE_MAX + 1)
    assert not TrainConfig(softmax="full").samples(10**6)
    assert TrainConfig(softmax="sampled").samples(10)
    with pytest.raises(ValueError, match="softmax = 'some' must be auto, full or sampled"):
        TrainConfig(softmax="some")  # type: ignore[arg-type]


class Two(Alone):
    """One of two workers."""

    size = 2


def test_several_workers_are_refused() -> None:
    """Before the work begins, with what to do instead."""
    parts = leave_one_out(cyclic_log(), SHAPE)
    settings = dataclasses.replace(QUICK, softmax="sampled")
    with pytest.raises(TrainingError, match="done by one worker: leave --workers out"):
        train(
            SHAPE,
            settings,
            parts.vocabulary,
            parts.training,
            parts.held,
            show_progress=False,
            workers=Two(),
        )


def test_which_softmax_and_why_is_said() -> None:
    """By the catalogue's size, or by the settings."""
    assert TrainConfig().softmax_of(10) == (
        "softmax over all items: the catalogue of 10 items is not above 50,000"
    )
    assert TrainConfig(drawn=2_000).softmax_of(60_000) == (
        "softmax over the batch's items and 2,000 drawn ones a step: the catalogue of 60,000 items "
        "is above 50,000"
    )
    assert TrainConfig(softmax="full").softmax_of(60_000).endswith(": as the settings say")
