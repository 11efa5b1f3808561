"""The task of the rare signal is what it says, and a part that keeps the event solves it."""

from __future__ import annotations

import numpy as np
import torch

from bench.accuracy import rare_signals
from bench.accuracy.rare_signals import CATEGORIES
from training.fit.allocation import prepare_process


def test_the_purchase_alone_decides_the_label() -> None:
    """One candidate of each category is shown,
    and the label is the purchased item's, so many events later.
    """
    task = rare_signals.draw(20, np.random.default_rng(0), distances=(3, 30))
    bought = task.events.actions.argmax(dim=1)
    assert task.events.actions.sum() == 20
    assert torch.equal(task.at - bought[:, None], torch.tensor([3, 30]).expand(20, 2))
    category = task.events.items.gather(1, bought[:, None]) % CATEGORIES
    assert torch.equal(task.labels.int().argmax(dim=-1), category.expand(20, 2))
    assert torch.equal(task.candidates % CATEGORIES, torch.arange(CATEGORIES).expand(20, 2, -1))


def test_without_a_purchase_the_newest_event_decides() -> None:
    """Nobody purchased: the label is the category of the event just before the question."""
    task = rare_signals.draw(20, np.random.default_rng(0), 0.0, distances=(3, 30))
    assert task.events.actions.sum() == 0
    newest = task.events.items.gather(1, task.at) % CATEGORIES
    assert torch.equal(task.labels.int().argmax(dim=-1), newest)


def test_protected_places_hold_the_last_rare_events() -> None:
    """Only rare events up to the question count, newest first,
    at most as many as there are places.
    """
    rare = torch.tensor([[True, False, True, True, False, True]])
    place, kept = rare_signals.protected(rare, torch.tensor([[4]]), width=4, places=2)
    assert place[0, 0, :2].tolist() == [3, 2]
    assert kept[0, 0].tolist() == [True, True, False, False]


def test_a_protected_place_carries_the_signal_past_the_ring() -> None:
    """A few steps of training on distances beyond the ring suffice;
    the ring alone stays near chance there.
    """
    prepare_process()
    kept, lost = (
        rare_signals.measure(
            rare_signals.train(parts, 160, 0, distances=(5, 60)), users=64, distances=(5, 60)
        )
        for parts in (("ring", "protected"), ("ring",))
    )
    assert kept[60] > 0.9
    assert lost[60] < 0.65


def test_users_without_a_rare_event_are_answered() -> None:
    """Empty protected places answer nothing, which is a number."""
    task = rare_signals.draw(4, np.random.default_rng(0), 0.0, distances=(3, 30))
    with torch.inference_mode():
        assert rare_signals.Reader(("protected",))(task).isfinite().all()
