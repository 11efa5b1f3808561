"""Rows of accuracy results find their place, whoever writes them."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from bench.accuracy import rows
from tests.bench.accuracy.made_rows import row_of


def _add(path: Path, seed: int) -> None:
    rows.add(row_of(seed), path)


def test_a_run_made_again_replaces_its_row(tmp_path: Path) -> None:
    """Rows are ordered by key, and a key is there once."""
    path = tmp_path / "accuracy.json"
    for seed in (2, 1, 2):
        _add(path, seed)
    assert [row["seed"] for row in rows.read(path)] == [1, 2]


def test_processes_do_not_lose_each_others_rows(tmp_path: Path) -> None:
    """Twenty runs that end at the same time leave twenty rows."""
    path = tmp_path / "accuracy.json"
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_add, path), range(20)))
    assert len(rows.read(path)) == 20


def test_a_row_without_its_figures_is_refused() -> None:
    """The message names what is missing."""
    with pytest.raises(ValueError, match="ndcg10"):
        rows.row(
            "next-item", "ml-1m", "sasrec", 0, {"hr10": 0.1}, train_minutes=1.0, state_bytes=None
        )
