"""Foursquare check-ins in New York as clicks, from an array of (user, place, minute).

D. Yang, D. Zhang, V. W. Zheng, Z. Yu. 2015. Modeling User Activity Preference by Leveraging User
Spatial Temporal Characteristics in LBSNs. IEEE Trans. SMC 45, 1. For research; read from the user's
own copy. Minutes count from the first check-in, so times here start near 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.clicklog import ClickLog
from training.errors import DatasetError

TERMS = "Foursquare check-ins collected by D. Yang: research use; bring your own copy"


def read(path: Path) -> ClickLog:
    """The click log of `NYC.npy`: int32 (n, 3), unsorted.

    Raises:
        DatasetError: the file is missing or has another shape.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"cannot read {path}: {error}; give the path of NYC.npy") from error
    if (
        not isinstance(rows, np.ndarray)
        or rows.ndim != 2
        or rows.shape[1] != 3
        or rows.dtype.kind not in "iu"
    ):
        raise DatasetError(
            f"{path} has shape {getattr(rows, 'shape', None)}; expected integers (n, 3): user, "
            "place, minute"
        )
    return ClickLog(
        users=rows[:, 0].astype(str).astype(object),
        items=rows[:, 1].astype(str).astype(object),
        actions=np.full(len(rows), "check-in", dtype=object),
        times_ms=rows[:, 2].astype(np.int64) * 60_000,
    )
