"""Random clicks go between a user's own and never touch what is to be predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.accuracy import noise
from tests.training.logs import cyclic_log
from training.data.sequences import Histories, Vocabulary
from training.fit.allocation import prepare_process
from training.fit.train import TrainConfig

LOG = cyclic_log()
VOCABULARY = Vocabulary.of(LOG, hashed=4)


def test_own_clicks_stay_in_order_and_the_last_two_together() -> None:
    """Without the added clicks the history is the old one;
    about the asked share is added, none at the end.
    """
    clean = Histories.of(LOG, VOCABULARY)
    noisy = noise.inject(clean, 12, 0.4, seed=1)
    assert noisy.users == clean.users
    assert 0.25 < (len(noisy.items) - len(clean.items)) / len(clean.items) < 0.45
    for user in range(len(clean.users)):
        old = clean.items[clean.starts[user] : clean.starts[user + 1]].tolist()
        new = noisy.items[noisy.starts[user] : noisy.starts[user + 1]].tolist()
        rest = iter(new)
        assert all(item in rest for item in old)
        assert new[-2:] == old[-2:]
        assert (np.diff(noisy.times_ms[noisy.starts[user] : noisy.starts[user + 1]]) >= 0).all()


def test_no_noise_changes_nothing() -> None:
    """A share of 0 gives the same histories."""
    clean = Histories.of(LOG, VOCABULARY)
    same = noise.inject(clean, 12, 0.0, seed=1)
    assert np.array_equal(same.items, clean.items)
    assert np.array_equal(same.starts, clean.starts)


def test_a_cell_is_trained_once(tmp_path: Path) -> None:
    """A second run reads the model that the first one saved, and measures the same."""
    prepare_process()
    settings = TrainConfig(epochs=1)
    first = noise.cell(LOG, "filter", 0.1, tmp_path, settings, "cyclic")
    written = (tmp_path / "weights.safetensors").stat().st_mtime_ns
    again = noise.cell(LOG, "filter", 0.1, tmp_path, settings, "cyclic")
    assert (tmp_path / "weights.safetensors").stat().st_mtime_ns == written
    assert again.network.config.window_attention is False
    assert noise.measure(first, LOG, 0.2, 0) == noise.measure(again, LOG, 0.2, 0)
