"""Slots with a change: each differs from the product's in what its name says."""

from __future__ import annotations

import pytest
import torch

from bench.accuracy.ctr.methods import SHAPE, SLOT_CHANGES
from bench.accuracy.ctr.slot_variants import ChangedSlots, SlotChange
from model.network.lowrank import LowRank

X = torch.randn(1, 6, SHAPE.width, generator=torch.Generator().manual_seed(0))
TIMES = torch.tensor([[0, 10, 20, 500_000, 500_010, 90_000_000]])
AT = torch.tensor([[5]])


def slots(change: SlotChange) -> ChangedSlots:
    """The same weights every time, none where its start hides it."""
    torch.manual_seed(1)
    made = ChangedSlots(SHAPE, change)
    with torch.no_grad():
        made.mixing.add_(torch.randn_like(made.mixing) * 0.3)
    return made


@torch.no_grad()
def read(made: LowRank) -> torch.Tensor:
    """What three candidates get."""
    return made.read(*made.caches_at(X, TIMES, AT), X[:, None, :3])


def test_without_a_change_it_is_the_products() -> None:
    """The same weights give the same answer."""
    changed = slots(SlotChange())
    own = LowRank(SHAPE)
    own.load_state_dict(changed.state_dict())
    torch.testing.assert_close(read(changed), read(own))


@pytest.mark.parametrize("name", [name for name in SLOT_CHANGES if name != "unpunished"])
def test_each_change_changes_the_answer(name: str) -> None:
    """No variant is another one under a new name."""
    answers = {other: read(slots(change)) for other, change in SLOT_CHANGES.items()}
    for other, answer in answers.items():
        if other != name:
            assert (answer - answers[name]).abs().max() > 1e-5, other


def test_what_fades_with_what() -> None:
    """Sums without fading hold every event whole; by events, the times make no difference."""
    never = slots(SLOT_CHANGES["undecayed"])
    with torch.no_grad():
        assert never.caches_at(X, TIMES, AT)[1].sum().item() == pytest.approx(6.0, rel=1e-5)
    by_events = slots(SLOT_CHANGES["by-events"])
    with torch.no_grad():
        torch.testing.assert_close(
            by_events.caches_at(X, TIMES, AT), by_events.caches_at(X, TIMES * 7, AT)
        )
    assert slots(SLOT_CHANGES["unpunished"]).negativity().item() == 0.0
    assert slots(SlotChange()).negativity().item() > 0.0
