"""Twins: sampled users kept in float32, so that a shard can say what rounding costs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from actors.clock import SystemClock
from actors.state.store import PartitionStore
from actors.state.twins import TWINS_MAX
from model.bundle.bundle import Bundle
from model.state import widen
from monitoring.metrics import Metrics
from tests.actors.click_log import CONFIG, ClickLog, bundle, bundle_of, sample, shard

LOG = ClickLog()


def store(model: Bundle | None = None, one_in: int = 1) -> PartitionStore:
    """An empty store that samples everybody."""
    return PartitionStore(
        model or bundle(),
        users_initial=1,
        bytes_per_user_max=4096,
        twins_one_in=one_in,
        clock=SystemClock(),
    )


class Coarse(Bundle):
    """A bundle that keeps only every 32nd value of int8 in its states."""

    def fold(self, rows, *columns):  # type: ignore[no-untyped-def]
        """Fold each event by itself, and drop the lowest five bits of what it changed."""
        for i in range(len(columns[0])):
            super().fold(rows, *(column[i : i + 1] for column in columns))
            if self.config.state_dtype == "int8":
                at = self.layout
                for start, size in (
                    (at.ssm, at.slot_scale - at.ssm),
                    (at.slots, at.row_bytes - at.slots),
                ):
                    part = rows[columns[0][i], start : start + size].view(np.int8)
                    part[:] = (np.rint(part / 32) * 32).clip(-96, 96).astype(np.int8)


@pytest.mark.parametrize("changed", [{}, {"ssm_bits": 8}], ids=str)
def test_a_widened_state_reads_the_same(changed: dict[str, object]) -> None:
    """Sequence state, slots, ring and tail of a row and of its float32 form are equal."""
    model = bundle(config=dataclasses.replace(CONFIG, **changed))  # type: ignore[arg-type]
    full = store(model, one_in=0)
    full.fold(LOG.all())
    row = full.row(int(LOG.users[0]))
    assert row is not None
    narrow = model.read(row)
    wide = model.unrounded().read(widen(row, model.config))
    assert narrow is not None
    assert wide is not None
    for name, mine, other in zip(narrow._fields, narrow, wide, strict=True):
        assert np.array_equal(mine, other), name


def test_int8_errs_little_and_a_coarser_rounding_much() -> None:
    """The error is small and not 0 as shipped,
    and rises at least threefold when five bits are lost.
    """
    shipped = store()
    coarse = store(bundle_of(Coarse))
    for each in (shipped, coarse):
        each.fold(LOG.all())
    fine = np.mean(shipped.compression_errors())
    rough = np.mean(coarse.compression_errors())
    assert 0 < fine < 0.1
    assert rough > 3 * fine


def test_shadows_do_not_change_the_states() -> None:
    """The same bytes with everybody sampled and with nobody."""
    with_shadows = store()
    without = store(one_in=0)
    for each in (with_shadows, without):
        each.fold(LOG.all())
    assert with_shadows.digest() == without.digest()
    assert without.compression_errors() == []
    assert len(with_shadows.compression_errors()) == TWINS_MAX


def test_a_shadow_begins_with_the_state_that_is_there() -> None:
    """After a restore, the first new event makes the twin from the
    row, so the error starts near 0.
    """
    saved = store(one_in=0)
    restored = store()
    saved.fold(LOG.batch(0, 900))
    for users, rows in saved.states():
        restored.load(users, rows)
    restored.skip_to(900)
    assert restored.compression_errors() == []
    restored.fold(LOG.all())
    unbroken = store()
    unbroken.fold(LOG.all())
    assert 0 < np.mean(restored.compression_errors()) <= np.mean(unbroken.compression_errors())


def test_an_erased_user_has_no_shadow() -> None:
    """The twin goes with the state, and makes room for another user's."""
    full = store()
    full.fold(LOG.all())
    for user in set(LOG.users.tolist()):
        full.erase(user)
    assert full.compression_errors() == []


def test_float32_states_have_no_shadows() -> None:
    """Where nothing is rounded there is nothing to measure."""
    exact = bundle(config=dataclasses.replace(CONFIG, state_dtype="float32"))
    full = PartitionStore(
        exact, users_initial=1, bytes_per_user_max=1 << 20, twins_one_in=1, clock=SystemClock()
    )
    full.fold(LOG.all())
    assert full.compression_errors() == []


def test_a_shard_exports_the_mean_error(tmp_path: Path) -> None:
    """The gauge is NaN before there is anybody to measure, and a small number afterwards."""
    owner = shard(tmp_path, twins_one_in=1)
    metrics: Metrics = owner._metrics
    owner.hold(0, 1)
    assert math.isnan(sample(metrics, "compression_error", arm="main"))
    owner.apply(LOG.all(), 1)
    assert 0 < sample(metrics, "compression_error", arm="main") < 0.1
