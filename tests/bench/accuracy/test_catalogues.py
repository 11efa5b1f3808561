"""The study of large catalogues on a small scale, and its made-up logs."""

from __future__ import annotations

import numpy as np
import pytest

from bench.accuracy.catalogues import MADE, Job, jobs, markdown, measured
from bench.accuracy.walks import BLOCK, FOLLOWED, walks
from bench.answers import catalogues as answer


def test_a_walk_follows_its_block_as_often_as_said() -> None:
    """Frequent items come first; the same seed gives the same log."""
    log = walks(1_000, users=300, length=21)
    np.testing.assert_array_equal(log.items, walks(1_000, users=300, length=21).items)
    counts = log.counts(1_000)
    assert len(log.items) == 6_300
    assert counts[:100].sum() > counts[-500:].sum()
    steps = log.items.reshape(300, 21)
    follower = steps[:, :-1] - steps[:, :-1] % BLOCK + (steps[:, :-1] + 1) % BLOCK
    assert np.mean(steps[:, 1:] == follower) == pytest.approx(FOLLOWED, abs=0.06)


def test_the_last_block_may_be_short() -> None:
    """No item outside of the catalogue is met."""
    log = walks(BLOCK + 3, users=50, length=30)
    assert log.items.min() >= 0
    assert log.items.max() < BLOCK + 3


def test_the_study_has_its_figures() -> None:
    """What one training costs and is worth, and its bundle, in tables."""
    settings = {**MADE, "width": 32, "expand": 1, "heads": 4, "epochs": 1, "tokens": 200}
    job = Job(items=60, users=12, settings={**settings, "softmax": "sampled"}, shipped=True)
    row = measured(job)
    assert row["asked"] == 12
    assert row["clicks"] == 12 * 18
    assert row["peak_mib"] > 10
    for name in ("bundle_mib", "load_s", "recommend_ms"):
        assert row["shipped"][name] > 0
    page = markdown([row, {**row, "softmax": "full", "shipped": None}], {"commit": "made up"})
    assert "| made up | 60 | 216 | 4,096 drawn |" in page
    assert page.count("| 60 | 0.") == 1
    assert answer({"rows": [row]}).startswith("216 clicks by sampled softmax: 60 items ")


def test_what_would_take_hours_is_left_out() -> None:
    """Full softmax stops at 100,000 items; real logs come in addition."""
    assert [(job.items, job.settings["softmax"]) for job in jobs(False, (), 1)] == [
        (10_000, "full"),
        (10_000, "sampled"),
        (100_000, "full"),
        (100_000, "sampled"),
        (1_000_000, "sampled"),
    ]
    added = list(jobs(True, ["diginetica=sessions.txt"], 3))[4:]
    assert [(job.data, str(job.path)) for job in added] == [("diginetica", "sessions.txt")] * 2
    assert {job.settings["epochs"] for job in added} == {3}
