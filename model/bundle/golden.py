"""Golden examples: a few made-up users whose states and scores every machine must reproduce.

States must agree to the byte: the fold is deterministic. Scores go through the linear algebra
library and may differ in the last digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from model.bundle.bundle import Bundle
from model.errors import BundleError
from model.state import zeros

USERS = 4
EVENTS = 400
CANDIDATES = 8
TOLERANCE = 1e-4
NOW_MS = 1_700_000_000_000


def make(bundle: Bundle) -> dict[str, Any]:
    """State digest and scores of the golden users under `bundle`."""
    digest, scores = _play(bundle)
    return {"state_digest": digest, "scores": scores, "tolerance": TOLERANCE}


def check(bundle: Bundle, expected: dict[str, Any], path: Path) -> None:
    """Compare with what the bundle was published with.

    Raises:
        BundleError: states or scores differ.
    """
    digest, scores = _play(bundle)
    if digest != expected["state_digest"]:
        raise BundleError(
            f"the bundle at {path} does not reproduce its golden states: digest {digest}, expected "
            f"{expected['state_digest']}; it was published by another version of the fold: "
            "publish it again"
        )
    worst = float(np.abs(np.array(scores) - np.array(expected["scores"])).max())
    if not worst <= expected["tolerance"]:
        raise BundleError(
            f"the bundle at {path} does not reproduce its golden scores: off by {worst:.2g}, "
            f"allowed {expected['tolerance']}; publish it again"
        )


def _play(bundle: Bundle) -> tuple[str, list[list[float]]]:
    random = np.random.Generator(np.random.PCG64(20260101))
    rows = zeros(bundle.config, USERS)
    index = random.integers(0, USERS, EVENTS)
    catalogue = len(bundle.items) + bundle.config.hashed_items
    bundle.fold(
        rows,
        index,
        index.astype(np.uint64),
        random.integers(0, catalogue, EVENTS),
        random.integers(0, len(bundle.config.actions), EVENTS).astype(np.uint8),
        NOW_MS - np.sort(random.integers(0, 10**10, EVENTS))[::-1],
        np.arange(EVENTS),
    )
    candidates = random.integers(0, catalogue, CANDIDATES)
    scores = [bundle.score(row, candidates, NOW_MS).probabilities.tolist() for row in rows]
    return xxhash.xxh3_64_hexdigest(rows.tobytes()), scores
