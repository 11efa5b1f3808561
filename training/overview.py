"""A log at a glance, before anything is learned from it: a wrong column or unit shows here."""

from __future__ import annotations

import datetime

import numpy as np

from training.data.clicklog import ClickLog, factorize

ACTIONS_SHOWN = 8


def moment(time_ms: int) -> str:
    """`2026-01-31 12:00 UTC`."""
    return f"{datetime.datetime.fromtimestamp(time_ms / 1000, tz=datetime.UTC):%Y-%m-%d %H:%M} UTC"


def time_span(log: ClickLog) -> str:
    """When the first and the last click were."""
    if not len(log):
        return "no clicks"
    return (
        f"first click {moment(int(log.times_ms.min()))}, last click "
        f"{moment(int(log.times_ms.max()))}"
    )


def actions(log: ClickLog) -> str:
    """The most frequent actions with their counts."""
    codes, names = factorize(log.actions)
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{names[at]} {counts[at]:,}" for at in order[:ACTIONS_SHOWN])
    more = f" and {len(order) - ACTIONS_SHOWN:,} more" if len(order) > ACTIONS_SHOWN else ""
    return f"actions: {shown}{more}"
