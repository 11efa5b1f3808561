"""Amazon reviews as clicks, from `user item item ...` lines in time order.

J. McAuley, C. Targett, Q. Shi, A. van den Hengel. 2015. Image-based recommendations on styles and
substitutes. SIGIR. The reviews belong to their authors and Amazon; the collectors share them for
research. Read from the user's own copy.

The files hold the order of events, not their times. Event j of a user gets the time j seconds,
unless a `_gaps.txt` file beside it (the same lines, a tab, the seconds between events) says more;
either way every user's clock starts at 0, so a split by global time means nothing here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.clicklog import ClickLog
from training.errors import DatasetError

TERMS = "Amazon reviews collected by J. McAuley: research use; bring your own copy"


def read(path: Path) -> ClickLog:
    """The click log of `Beauty.txt`, `Toys_and_Games.txt` or any other file of that form.

    Raises:
        DatasetError: the file or its gaps cannot be read as described.
    """
    lines = _lines(path)
    gaps_path = path.with_name(f"{path.stem}_gaps{path.suffix}")
    gap_lines = (
        [line.partition("\t")[2] for line in _lines(gaps_path)] if gaps_path.exists() else None
    )
    if gap_lines is not None and len(gap_lines) != len(lines):
        raise DatasetError(
            f"{gaps_path} has {len(gap_lines)} lines, {path} {len(lines)}; use matching files"
        )
    users = []
    items = []
    times = []
    for number, line in enumerate(lines):
        user, *events = line.split()
        users += [user] * len(events)
        items += events
        times.append(
            _times_ms(len(events), gap_lines[number] if gap_lines else None, gaps_path, number)
        )
    return ClickLog(
        users=np.array(users, dtype=object),
        items=np.array(items, dtype=object),
        actions=np.full(len(users), "click", dtype=object),
        times_ms=np.concatenate(times),
    )


def _times_ms(events: int, gaps: str | None, path: Path, number: int) -> np.ndarray:
    if gaps is None:
        return np.arange(events, dtype=np.int64) * 1000
    try:
        seconds = np.array(gaps.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} line {number + 1}: gaps must be whole seconds ({error}); use matching files"
        ) from error
    if len(seconds) != events:
        raise DatasetError(
            f"{path} line {number + 1}: {len(seconds)} gaps for {events} events; use matching files"
        )
    return np.asarray(np.cumsum(seconds) * 1000)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read {path}: {error}; give the path of a `user item item ...` file"
        ) from error
    if not lines:
        raise DatasetError(f"{path} holds no lines; give the path of a `user item item ...` file")
    return lines
