"""States in other formats: the study's form of the shipped one agrees with it,
and coarser formats cost more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.accuracy.states import compression
from bench.accuracy.states.rounding import (
    FLOAT16,
    FLOAT32,
    INT4,
    INT8,
    Formats,
    RoundedBundle,
    state_bytes,
)
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.levels import Level
from model.state import layout, zeros
from tests.bench.accuracy.states.lively_bundle import bundle
from tests.model.models import histories
from training.measure.evaluate import Clicks
from training.measure.metrics import auc
from training.measure.served import Served

EVENTS = 60
USERS = 6


def readings(model: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Sequence states (B, D) and caches (B, R, D) of a few users after `EVENTS` events."""
    batch = histories(USERS, EVENTS, model.config)
    rows = zeros(model.config, USERS)
    index = np.tile(np.arange(USERS), EVENTS)
    model.fold(
        rows,
        index,
        index.astype(np.uint64),
        batch.items.mT.flatten().numpy(),
        batch.actions.mT.flatten().numpy().astype(np.uint8),
        batch.times_ms.mT.flatten().numpy(),
        np.arange(USERS * EVENTS),
    )
    found = [model.read(row) for row in rows]
    return np.stack([one.sequence for one in found if one]), np.stack(
        [one.cache for one in found if one]
    )


def error(found: np.ndarray, exact: np.ndarray) -> float:
    """Relative error in the root mean square."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("changed", [{}, {"ssm_bits": 8}], ids=str)
def test_the_studys_form_of_what_ships_is_what_ships(changed: dict[str, object]) -> None:
    """Against float32 both err by the same size,
    and they are far closer to each other than to float32.
    """
    model = bundle(**changed)
    exact, shipped, studied = (
        readings(each)
        for each in (
            RoundedBundle(model, Formats()),
            model,
            RoundedBundle(model, Formats.shipped(model.config)),
        )
    )
    for part in range(2):
        shipped_error = error(shipped[part], exact[part])
        studied_error = error(studied[part], exact[part])
        assert shipped_error > 0
        assert studied_error == pytest.approx(shipped_error, rel=0.1)
        assert error(studied[part], shipped[part]) < 0.3 * shipped_error


def test_coarser_formats_err_more() -> None:
    """float16 is finer than int8, and int8 finer than int4."""
    model = bundle()
    exact = readings(RoundedBundle(model, Formats()))[0]
    errors = [
        error(readings(RoundedBundle(model, Formats.every(kept)))[0], exact)
        for kept in (FLOAT16, INT8, INT4)
    ]
    assert 0 < errors[0] < errors[1] / 3
    assert errors[1] < errors[2] / 3


def test_a_part_alone_leaves_the_others_exact() -> None:
    """With only the low-rank cache in int4 the sequence state is that of
    float32, and the other way round.
    """
    model = bundle()
    exact = readings(RoundedBundle(model, Formats()))
    slots = readings(RoundedBundle(model, Formats(slots=INT4)))
    ssm = readings(RoundedBundle(model, Formats(ssm=INT4)))
    assert error(slots[0], exact[0]) == 0 < error(slots[1], exact[1])
    assert error(ssm[1], exact[1]) == 0 < error(ssm[0], exact[0])


@pytest.mark.parametrize("changed", [{}, {"drop_duplicates": True}], ids=str)
def test_bytes_are_those_of_the_layout(changed: dict[str, object]) -> None:
    """The study counts bytes as the shipped layout does; int4 takes fewer, floats more."""
    config = ModelConfig(**changed)  # type: ignore[arg-type]
    sizes = [state_bytes(config, Formats.every(kept)) for kept in (INT4, INT8, FLOAT16, FLOAT32)]
    assert sizes == sorted(sizes)
    assert state_bytes(config, Formats.shipped(config)) == layout(config).row_bytes
    assert sizes[1] == layout(replace(config, ssm_bits=8)).row_bytes


def test_values_a_user_add_up_to_the_auc() -> None:
    """The mean of the users' parts is the AUC of all answers together."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(50, 4)).round(1)  # ties included
    labels = np.tile(np.arange(4) == 0, 50)
    asked = Clicks(users=np.repeat(np.arange(50), 4), labels=labels, logits=logits.ravel())
    found = compression.outcome(Served(clicks={Level.FULL: asked}, ranks=np.arange(1, 51)), 3)
    assert found.auc.mean() == pytest.approx(auc(labels, logits.ravel()))
    assert found.hr10.sum() == 10
