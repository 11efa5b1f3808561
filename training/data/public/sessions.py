"""Sessions of shops as clicks, from the files of SR-GNN: `NAME_train.txt` and `NAME_test.txt`.

One session a line, its item numbers in the order of the clicks; sessions in the order of time,
those of the test after those of the training. Each session is a user of its own, numbered from 1
through both files.

The files hold no times, so these are made up: the clicks of a session come a second apart, and a
session begins a minute after the last click of the one before it. So the order of all clicks is
kept, no two sessions overlap, and every gap inside a session is the same. A cut between any two
sessions is a cut in time; hours, days and the length of a pause mean nothing.

S. Wu, Y. Tang, Y. Zhu, L. Wang, X. Xie, T. Tan. 2019. Session-based Recommendation with Graph
Neural Networks. AAAI. Diginetica is of the CIKM Cup 2016, Tmall of the IJCAI-15 contest; the split
of Tmall is that of Z. Wang et al. 2020. Global Context Enhanced Graph Neural Networks for
Session-based Recommendation. SIGIR.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.arrays import Longs
from training.data.clicklog import ClickLog
from training.errors import DatasetError

TERMS = "sessions published for research, licence not stated: bring your own copy"
CLICK_MS = 1_000  # from one click of a session to the next
PAUSE_MS = 60_000  # from the last click of a session to the first of the next


def read(folder: Path, name: str, tested: int) -> ClickLog:
    """The click log of `name`_train.txt and `name`_test.txt in `folder`, whose newest `tested`
    users are the sessions of the test.

    Raises:
        DatasetError: a file is missing or holds no sessions, or the test file holds another number.
    """
    training = _sessions(folder / f"{name}_train.txt")
    test = _sessions(folder / f"{name}_test.txt")
    if len(test) != tested:
        raise DatasetError(
            f"{folder / f'{name}_test.txt'} holds {len(test):,} sessions, expected {tested:,}: "
            "give the folder of the published split"
        )
    sessions = training + test
    lengths = np.array([len(session) for session in sessions], dtype=np.int64)
    users = np.arange(1, len(sessions) + 1).astype(str).astype(object)
    items = [item for session in sessions for item in session]
    return ClickLog(
        users=np.repeat(users, lengths),
        items=np.array(items, dtype=object),
        actions=np.full(len(items), "click", dtype=object),
        times_ms=_times_ms(lengths),
    )


def _times_ms(lengths: Longs) -> Longs:
    """Of the clicks of sessions of these lengths, one after the other."""
    steps = np.full(lengths.sum(), CLICK_MS, dtype=np.int64)
    steps[np.cumsum(lengths) - lengths] = PAUSE_MS
    return np.asarray(np.cumsum(steps))


def _sessions(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read {path}: {error}; give the --path of the folder that holds "
            "NAME_train.txt and NAME_test.txt"
        ) from error
    found = [line.split() for line in lines if line.strip()]
    if not found:
        raise DatasetError(f"{path} holds no sessions; each line is one, as item numbers")
    return found
