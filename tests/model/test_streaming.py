"""Whole histories and single steps are the same model, and nothing looks ahead."""

from __future__ import annotations

import pytest
import torch

from model.config import ModelConfig
from model.reference import ReferenceState, step
from tests.model.models import ITEMS, VARIANTS, histories, network

LENGTH = 45  # beyond the ring of 32 and a chunk of the scan


@pytest.mark.parametrize("variant", VARIANTS)
def test_scan_equals_repeated_steps(variant: str) -> None:
    """After every event, the whole-history pass and the single step show the same sequence state and slots."""
    config = ModelConfig(**VARIANTS[variant])
    made, batch = network(config), histories(3, LENGTH, config)
    state = ReferenceState.zeros(config, 3)
    with torch.no_grad():
        whole = made.encode(batch)
        caches, masses = made.lowrank.caches_at(whole.x, batch.times_ms, torch.arange(LENGTH).expand(3, -1))
        for t in range(LENGTH):
            sequence, state = step(made, state, batch.items[:, t], batch.actions[:, t], batch.times_ms[:, t])
            torch.testing.assert_close(sequence, whole.sequence[:, t], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(state.cache, caches[:, t], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(state.mass, masses[:, t], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("at", [1, 31, 40])
def test_nothing_looks_ahead(variant: str, at: int) -> None:
    """Another item and time at event t change no output before t, and do change the one at t."""
    config = ModelConfig(**VARIANTS[variant])
    made, batch = network(config), histories(2, LENGTH, config)
    items, times = batch.items.clone(), batch.times_ms.clone()
    items[:, at] = (items[:, at] + 1) % ITEMS
    times[:, at:] += 86_400_000
    changed = batch._replace(items=items, times_ms=times)
    with torch.no_grad():
        before, after = made.encode(batch), made.encode(changed)
        logits = made.next_item_logits(before, batch)[:, :at]
        same = made.next_item_logits(after, changed)[:, :at]
    # FFT and chunks round differently when later events differ, so equal to rounding, not to the bit
    torch.testing.assert_close(before.sequence[:, :at], after.sequence[:, :at], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, same, atol=1e-4, rtol=1e-4)
    assert (before.sequence[:, at] - after.sequence[:, at]).abs().max() > 1e-2
