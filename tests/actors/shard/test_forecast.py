"""Forecasts follow what was measured."""

from __future__ import annotations

import pytest

from actors.shard.forecast import REPLAY_EVENTS_PER_S, RESTORE_BYTES_PER_S, RecoveryForecast


def test_assumed_until_measured() -> None:
    """Before anything was measured, the assumed rates count."""
    seconds = RecoveryForecast().seconds(int(2 * RESTORE_BYTES_PER_S), int(3 * REPLAY_EVENTS_PER_S))
    assert seconds == pytest.approx(5)


def test_measured_rates_take_over() -> None:
    """After some seconds of measuring the forecast is that of the measured rates,
    and follows when they change.
    """
    forecast = RecoveryForecast()
    for _ in range(20):
        forecast.restored(10**9, 1.0)
        forecast.folded(10_000, 0.1)
    assert forecast.seconds(10**9, 0) == pytest.approx(1, rel=0.1)
    assert forecast.seconds(0, 10**5) == pytest.approx(1, rel=0.2)
    for _ in range(20):
        forecast.restored(10**9, 60.0)
    assert forecast.seconds(10**9, 0) == pytest.approx(60, rel=0.1)


def test_one_small_restore_is_believed() -> None:
    """Half a second tells more than what was assumed, a few rows in no time tell less."""
    forecast = RecoveryForecast()
    forecast.restored(10**4, 0.002)
    assert forecast.seconds(int(RESTORE_BYTES_PER_S), 0) == pytest.approx(1, rel=0.1)
    forecast.restored(5 * 10**8, 0.5)
    assert forecast.seconds(10**9, 0) == pytest.approx(1, rel=0.2)


def test_what_tells_nothing_is_left_out() -> None:
    """Batches of a trickle, and times too short for the clock, change nothing."""
    forecast = RecoveryForecast()
    forecast.folded(3, 1.0)
    forecast.folded(1000, 0.0)
    forecast.restored(10**12, 0.0)
    assert forecast.seconds(int(RESTORE_BYTES_PER_S), int(REPLAY_EVENTS_PER_S)) == pytest.approx(2)
