"""What snapshots cost while clicks are folded: how long they stop the fold, and how much slower it is.

One partition is folded as fast as it goes, each user equally likely to click, so nearly all rows of a small partition
and as many rows as there are clicks of a large one change between two snapshots: the worst case. Stretches with and
without snapshots take turns, several pairs of them; a ratio is of neighbours, so that what else runs on the machine
hits both. The store's lock is watched: whoever takes pieces of an image holds up the fold and every read meanwhile.

The overhead is told twice. By the clock it has everything in it, also what else the machine does. By processor time it
has what the folding thread spends on a click, which saving rows beforehand and colder caches add to, and the time for
which the lock is held against it; that is steadier on a machine that is shared.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Annotated, NamedTuple

import numpy as np
import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from actors.errors import SnapshotError
from actors.fair_lock import FairLock
from bench import report, stored, untrained
from cluster.wiring import SWITCH_INTERVAL_S
from model.bundle import Bundle
from monitoring.metrics import Metrics

INTERVAL_S = stored.SETTINGS.snapshot_interval_s
INTERVALS_A_STRETCH = 3
TICK_S = 0.1  # as a shard's process looks whether a snapshot is due


class WatchedLock(FairLock):
    """Notes how long one thread holds it at a time, by the clock and in processor time."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: int | None = None  # a thread's ident
        self.held_s: list[float] = []
        self.held_cpu_s = 0.0
        self._since = self._since_cpu = 0.0

    def __enter__(self) -> None:
        super().__enter__()
        if threading.get_ident() == self.watched:
            self._since, self._since_cpu = time.perf_counter(), time.thread_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.get_ident() == self.watched:
            self.held_s.append(time.perf_counter() - self._since)
            self.held_cpu_s += time.thread_time() - self._since_cpu
        super().__exit__(kind, error, trace)


class Stretch(NamedTuple):
    """A time of folding."""

    events: int
    seconds: float
    cpu_s: float  # of the folding thread, and of the other one while it held the lock

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


class Pair(NamedTuple):
    """Two stretches, one after the other."""

    alone: Stretch
    beside: Stretch

    @property
    def overhead(self) -> float:
        """The share of the throughput that snapshots take, by the clock."""
        return 1 - self.beside.rate / self.alone.rate

    @property
    def cpu_overhead(self) -> float:
        """The same in processor time."""
        return 1 - (self.alone.cpu_s / self.alone.events) / (self.beside.cpu_s / self.beside.events)


class Filled:
    """A partition in which everybody has clicked once."""

    def __init__(self, users: int, bundle: Bundle, folder: Path) -> None:
        self.clicks, self.metrics = stored.Clicks(users, 1), Metrics(CollectorRegistry())
        self.shard = stored.shard(folder, bundle, self.metrics)
        self.shard.own(0, 1)
        for batch in self.clicks.of_everybody(0):
            self.shard.apply(batch, 1)
        self.lock = WatchedLock()
        self.shard._owned[0].restored()[stored.ARM]._tiers.lock = self.lock

    def fold(self, seconds: float) -> Stretch:
        """Fold for so long."""
        events, started_s, started_cpu_s, held_cpu_s = 0, time.perf_counter(), time.thread_time(), self.lock.held_cpu_s
        while (took_s := time.perf_counter() - started_s) < seconds:
            for batch in self.clicks.of_anybody(0, stored.BATCH_EVENTS):
                self.shard.apply(batch, 1)
                events += len(batch)
        return Stretch(events, took_s, time.thread_time() - started_cpu_s + self.lock.held_cpu_s - held_cpu_s)

    def fold_beside_snapshots(self, seconds: float) -> Stretch:
        """The same while another thread takes the snapshots that are due, as in a shard's process."""
        done, failures = threading.Event(), list[SnapshotError]()

        def save() -> None:
            self.lock.watched = threading.get_ident()
            while not done.wait(TICK_S):
                failures.extend(self.shard.snapshot_all_due())

        saving = threading.Thread(target=save)
        saving.start()
        stretch = self.fold(seconds)
        done.set()
        saving.join()
        if failures:
            raise failures[0]
        return stretch


def measure(users: int, bundle: Bundle, folder: Path, pairs: int, seconds: float) -> dict[str, object]:
    """One row of snapshot.json."""
    filled = Filled(users, bundle, folder)
    filled.fold(seconds / 10)  # warm
    resident, taken = _resident_bytes(), list[Pair]()
    watching = Watching()
    with watching:
        for _ in range(pairs):
            taken.append(Pair(filled.fold(seconds), filled.fold_beside_snapshots(seconds)))
    held_ms = np.array(filled.lock.held_s) * 1000
    snapshots, took_s = (stored.sample(filled.metrics, f"snapshot_seconds_{name}") for name in ("count", "sum"))
    return {
        "users": users,
        "events_per_s": round(median(pair.alone.rate for pair in taken)),
        "events_per_s_beside": round(median(pair.beside.rate for pair in taken)),
        "overhead": round(median(pair.overhead for pair in taken), 4),
        "overheads": [round(pair.overhead, 4) for pair in taken],
        "cpu_overhead": round(median(pair.cpu_overhead for pair in taken), 4),
        "cpu_overheads": [round(pair.cpu_overhead, 4) for pair in taken],
        "snapshots": round(snapshots),
        "snapshot_s": round(took_s / snapshots, 2),
        "pieces": len(held_ms),
        "pause_ms_max": round(float(held_ms.max()), 2),
        "pause_ms_p999": round(float(np.quantile(held_ms, 0.999)), 2),
        "pause_ms_median": round(float(np.median(held_ms)), 2),
        "extra_memory_mb": round((watching.peak_bytes - resident) / 1e6),
    }


class Watching(threading.Thread):
    """Looks how much memory the process has, while the block runs."""

    def __init__(self) -> None:
        super().__init__()
        self.peak_bytes, self._done = 0, threading.Event()

    def run(self) -> None:
        """Look until the block ends."""
        while not self._done.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, _resident_bytes())

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def markdown(rows: list[dict[str, object]], pairs: int, seconds: float, origin: dict[str, str]) -> str:
    """snapshot.md from the content of snapshot.json."""
    heads = (
        "users", "events/s", "with snapshots", "overhead, by the clock", "by processor time", "snapshot, s",
        "longest pause, ms", "99.9 %, ms", "median, ms", "memory, MB",
    )  # fmt: skip
    cells = [
        (
            *(f"{row[name]:,}" for name in ("users", "events_per_s", "events_per_s_beside")),
            *(f"{row[name]:.1%}" for name in ("overhead", "cpu_overhead")),
            *(row[name] for name in ("snapshot_s", "pause_ms_max", "pause_ms_p999", "pause_ms_median")),
            f"{row['extra_memory_mb']:,}",
        )
        for row in rows
    ]
    return (
        "# Snapshots while clicks are folded\n\n"
        f"{report.table(heads, cells)}\n\n"
        "One partition, folded as fast as one core does, every user equally likely; a snapshot each "
        f"{INTERVAL_S:.0f} s. {pairs} pairs of\nstretches of {seconds:.0f} s without and with snapshots; the overheads "
        "are medians of the pairs', `bench/snapshot.py` says of what. A\npause is how long the thread that saves holds "
        "the store's lock, all that folding and reading ever wait for; `memory` is\nwhat the process took more "
        "at most.\n\n"
        f"{report.footer(origin)}\n"
    )


def main(
    quick: Annotated[bool, typer.Option(help="A few seconds, to see that it works; writes below out/bench/.")] = False,
    users: Annotated[str, typer.Option(help="Numbers of users, with commas between.")] = "100000,1000000",
    pairs: Annotated[int, typer.Option(help="Pairs of stretches.")] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where the snapshots go meanwhile.")] = None,
) -> None:
    """Measure how long snapshots stop folding and reading, and how much slower folding is beside them.

    Needs about 8 KB of memory and 12 KB of disk a user. Writes bench/results/snapshot.json and snapshot.md (with
    --quick: out/bench/), and prints the table.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    console, bundle = Console(), untrained.bundle(stored.ITEMS)
    sizes = [2000] if quick else [int(size) for size in users.split(",")]
    pairs, seconds = (1, 1.2 * INTERVAL_S) if quick else (pairs, INTERVALS_A_STRETCH * INTERVAL_S)
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task("snapshots", total=len(sizes))
        for size in sizes:
            progress.update(task, description=f"{size:,} users")
            with tempfile.TemporaryDirectory(dir=folder, prefix="echorank-snapshot-") as below:
                rows.append(measure(size, bundle, Path(below), pairs, seconds))
            progress.advance(task)
    origin = report.provenance(quick)
    text = markdown(rows, pairs, seconds, origin)
    written = report.write("snapshot", {"rows": rows, "interval_s": INTERVAL_S, "pairs": pairs, **origin}, text, quick)
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"written: {written}/snapshot.json and snapshot.md", markup=False, soft_wrap=True)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    typer.run(main)
