"""Drift is measured on the same events, at each length."""

from __future__ import annotations

import numpy as np

from bench.accuracy.states import drift
from bench.accuracy.states.rounding import INT4, INT8, Formats, RoundedBundle
from tests.bench.accuracy.states.lively_bundle import bundle
from tests.training.logs import cyclic_log
from training.data.sequences import Histories, Vocabulary


def test_drift_of_int8_stays_small_and_int4_errs_more() -> None:
    """Float32 strays from itself by nothing;
    int8 by less than int4 at every length and in every part.
    """
    log = cyclic_log()
    lengths = (10, 50)
    histories = Histories.of(log, Vocabulary.of(log, hashed=4))
    model = bundle()
    events = drift.long_users(histories, 2, 50, seed=0)
    assert (np.diff(events.times_ms, axis=1) >= 0).all()
    exact = drift.follow(RoundedBundle(model, Formats()), events, lengths, seed=0)
    none, int8, int4 = (
        drift.measure(model, events, formats, exact, lengths)
        for formats in (Formats(), Formats.every(INT8), Formats.every(INT4))
    )
    for part in drift.PARTS:
        assert none[part] == [0.0, 0.0]
        assert all(
            0 < fine < coarse for fine, coarse in zip(int8[part], int4[part], strict=True)
        ), part
    row = {"states": "int8"} | int8
    assert "| int8 | sequence |" in drift.markdown([row], lengths, {})
