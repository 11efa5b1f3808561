"""Rows of runs that nobody made."""

from __future__ import annotations

from bench.accuracy import rows

FIGURES = dict.fromkeys(rows.FIGURES["next-item"], 0.25)


def row_of(seed: int) -> rows.Row:
    """A row of a run with that seed."""
    return rows.row(
        "next-item", "ml-1m", "sasrec", seed, FIGURES, train_minutes=1.0, state_bytes=None
    )
