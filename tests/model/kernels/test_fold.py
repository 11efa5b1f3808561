"""The compiled fold: equal to the reference, deterministic to the byte, bounded drift."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.kernels.fold import fold_events
from model.kernels.read import Reading, read_row
from model.network.absorb import absorb
from model.network.embedding import Sequences
from model.network.reference import ReferenceState, step
from model.params import FoldParams, sizes_of
from model.state import layout, views, zeros
from tests.model.models import VARIANTS, fold_all, histories, network

BUDGET_BYTES = 4096
INDEX_BYTES_MAX = 32


def read(params: FoldParams, config: ModelConfig, rows: np.ndarray, row: int) -> Reading:
    """What one row says."""
    return read_row(params, sizes_of(config), layout(config), views(rows), row)


def reference(
    config: ModelConfig, batch: Sequences, seed: int = 0
) -> tuple[torch.Tensor, ReferenceState]:
    """The reference's last sequence state and state."""
    made = network(config, seed)
    state = ReferenceState.zeros(config, len(batch.items))
    with torch.no_grad():
        for t in range(batch.items.shape[1]):
            sequence, state = step(
                made, state, batch.items[:, t], batch.actions[:, t], batch.times_ms[:, t]
            )
    return sequence, state


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("events", [1, 3, 40, 330])
def test_fold_equals_the_reference(variant: str, events: int) -> None:
    """With float32 states, compiled fold and reader agree with the
    plain steps in output and state.
    """
    config = ModelConfig(**VARIANTS[variant], state_dtype="float32", actions=("view", "buy"))
    batch = histories(2, events, config)
    params = absorb(network(config))
    rows = fold_all(params, config, batch)
    sequence, state = reference(config, batch)
    for user in range(2):
        got, cache, mass, ring, inputs, tail, *_ = read(params, config, rows, user)
        assert len(inputs) == min(events, config.attended)
        np.testing.assert_allclose(inputs, state.x[user, : len(inputs)].numpy(), atol=1e-4)
        np.testing.assert_allclose(got, sequence[user].numpy(), atol=1e-4)
        np.testing.assert_allclose(cache, state.cache[user].numpy(), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(mass, state.mass[user].numpy(), atol=1e-4, rtol=1e-4)
        newest_first = batch.items[user].flip(0).numpy()
        assert ring.tolist() == newest_first[: config.ring_length].tolist()
        assert tail.tolist() == newest_first[config.ring_length :][: config.tail_length].tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_int8_states_stay_close(variant: str) -> None:
    """Quantised states give nearly the same sequence state."""
    config = ModelConfig(**VARIANTS[variant])
    batch = histories(4, 200, config)
    params = absorb(network(config))
    rows = fold_all(params, config, batch)
    sequence, _ = reference(config, batch)
    for user in range(4):
        error = read(params, config, rows, user)[0] - sequence[user].numpy()
        assert np.abs(error).max() < 0.1
        assert np.sqrt(np.square(error).mean()) < 0.03


def test_drift_stays_bounded_over_100_000_events() -> None:
    """The int8 state's distance from the float32 state does not grow with history."""
    exact = ModelConfig(state_dtype="float32")
    small = ModelConfig()
    params = absorb(network(exact))
    rows = zeros(exact, 1)
    compact = zeros(small, 1)
    errors = []
    for part in range(10):
        batch = histories(1, 10_000, exact, seed=part)
        batch = batch._replace(times_ms=batch.times_ms - batch.times_ms[0, 0] + part * 10**13)
        rows = fold_all(params, exact, batch, rows)
        compact = fold_all(params, small, batch, compact)
        error = read(params, exact, rows, 0)[0] - read(params, small, compact, 0)[0]
        errors.append(float(np.sqrt(np.square(error).mean())))
    assert max(errors) < 0.05
    assert np.mean(errors[5:]) < 2 * np.mean(errors[:5]) + 0.01


@pytest.mark.parametrize("state_dtype", ["int8", "float32"])
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 120), max_size=8), order=st.integers(0, 2**32 - 1))
def test_any_split_gives_the_same_bytes(state_dtype: str, cuts: list[int], order: int) -> None:
    """Cutting a log into batches anywhere,
    and placing users in other rows, changes no byte of a state.
    """
    config = ModelConfig(**VARIANTS["small"], state_dtype=state_dtype)
    params = absorb(network(config))
    batch = histories(3, 40, config)
    whole = fold_all(params, config, batch)
    places = np.random.default_rng(order).permutation(3)
    rows = zeros(config, 3)
    users = np.tile(np.arange(3), 40)
    items = batch.items.mT.flatten().numpy()
    times = batch.times_ms.mT.flatten().numpy()
    bounds = [0, *sorted(cuts), 120]
    for start, stop in pairwise(bounds):
        part = slice(start, stop)
        fold_events(
            params,
            sizes_of(config),
            layout(config),
            views(rows),
            places[users[part]],
            users[part].astype(np.uint64),
            items[part],
            np.zeros(stop - start, np.uint8),
            times[part],
            np.arange(start, stop),
        )
    assert rows[places].tobytes() == whole.tobytes()


def test_late_events_do_not_turn_time_back() -> None:
    """An event older than the newest counts as simultaneous; the newest time stays."""
    config = ModelConfig()
    batch = histories(1, 3, config)._replace(times_ms=torch.tensor([[10_000, 90_000, 50_000]]))
    rows = fold_all(absorb(network(config)), config, batch)
    assert views(rows).i64[0, layout(config).last_time // 8] == 90_000
    assert views(rows).u8[0, layout(config).ring_gaps + 2] == 0


def test_exact_duplicates_are_dropped_on_request() -> None:
    """The same item, action and time within the ring changes nothing
    where `drop_duplicates` is set.
    """
    batch = histories(1, 4, ModelConfig())._replace(
        items=torch.tensor([[1, 2, 1, 1]]), times_ms=torch.tensor([[1000, 1000, 1000, 2000]])
    )
    for drop, events in ((True, 3), (False, 4)):
        config = ModelConfig(drop_duplicates=drop)
        rows = fold_all(absorb(network(config)), config, batch)
        assert views(rows).u32[0, layout(config).events // 4] == events


@pytest.mark.parametrize("times", [[0, 10**15], [1, 2**53], [5, 5]])
def test_extreme_gaps_keep_states_finite(times: list[int]) -> None:
    """Gaps of thousands of years fade a state to zero, never to NaN."""
    config = ModelConfig()
    batch = histories(1, 2, config)._replace(times_ms=torch.tensor([times]))
    params = absorb(network(config))
    sequence, cache, *_ = read(params, config, fold_all(params, config, batch), 0)
    assert np.isfinite(sequence).all()
    assert np.isfinite(cache).all()


def test_the_shipped_state_fits_the_budget() -> None:
    """A user and arm take at most 4 KiB, index included."""
    assert layout(ModelConfig()).row_bytes + INDEX_BYTES_MAX <= BUDGET_BYTES
