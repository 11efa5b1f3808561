"""What snapshots cost while clicks are folded:
how long they stop the fold, and how much slower it is.

One partition is folded as fast as it goes, each user equally likely to click, so nearly all rows of
a small partition and as many rows as there are clicks of a large one change between two snapshots:
the worst case. Another thread saves what is due, as a shard's process does, with the shipped
settings: an interval apart, or later where snapshots would take more than their share. Folding with
and without snapshots alternates in one run, so whatever else runs on the machine is in both: what a
snapshot takes is the rate while it is taken against the rate just before and just after it, and the
overhead is what all of them take, over the whole time between the first and the last of them.

The same is told in processor time, which is steadier on a machine that others use: what the folding
thread spends more on a click while a snapshot is taken, and besides the time for which the lock is
held against it, or, where no processor is free for the thread that saves, all of that thread's.

The store's lock is watched: whoever takes pieces of an image holds up the fold, and every read,
meanwhile.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Annotated, NamedTuple

import numpy as np
import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from actors.locks import FairLock
from actors.shard.settings import ShardSettings
from bench import report, stored, untrained
from cluster.processes.promptness import SWITCH_INTERVAL_S
from cluster.processes.shard_process import TICK_S
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

SETTINGS = stored.SETTINGS
AROUND_S = 2.0  # before and after a snapshot
# snapshots until they are as far apart as they will be: the first ones have an allowance unspent
SETTLING = 2


class WatchedLock(FairLock):
    """Notes how long one thread holds it at a time, by the clock and in processor time."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: int | None = None  # a thread's ident
        self.held_s: list[float] = []
        self.held_cpu_s: list[float] = []
        self._since_s = self._since_cpu_s = 0.0

    def __enter__(self) -> None:
        super().__enter__()
        self._since_s = time.perf_counter()
        self._since_cpu_s = time.thread_time()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if threading.get_ident() == self.watched:
            self.held_s.append(time.perf_counter() - self._since_s)
            self.held_cpu_s.append(time.thread_time() - self._since_cpu_s)
        super().__exit__(kind, error, trace)


class Stretch(NamedTuple):
    """Some time, by the clock."""

    start_s: float
    stop_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.stop_s - self.start_s


class Taken(NamedTuple):
    """A snapshot: when, and the processor time of the thread that took it,
    all in all and under the lock.
    """

    when: Stretch
    cpu_s: float
    held_cpu_s: float


class Filled:
    """A partition in which everybody has clicked once, and a record of what is done with it."""

    def __init__(self, users: int, bundle: Bundle, folder: Path, settings: ShardSettings) -> None:
        self.clicks = stored.Clicks(users, 1)
        self.lock = WatchedLock()
        self.shard = stored.shard(folder, bundle, Metrics(CollectorRegistry()), settings)
        self.shard.hold(0, 1)
        for batch in self.clicks.of_everybody(0):
            self.shard.apply(batch, 1)
        self.shard._held[0].restored()[stored.ARM]._tiers.lock = self.lock
        self.folded_at_s: list[float] = []  # when each batch of BATCH_EVENTS was through,
        # and what it took of the folding thread's processor time
        self.folded_cpu_s: list[float] = []
        self.taken: list[Taken] = []
        self.resident_bytes = [_resident_bytes()]

    def save(self, done: threading.Event) -> None:
        """Save what is due, as long as it is not done."""
        self.lock.watched = threading.get_ident()
        while not done.wait(TICK_S):
            durable = self.shard.durable()
            held = len(self.lock.held_cpu_s)
            start_s = time.perf_counter()
            start_cpu_s = time.thread_time()
            self.shard.snapshot_all_due()
            when = Stretch(start_s, time.perf_counter())
            cpu_s = time.thread_time() - start_cpu_s
            if self.shard.durable() != durable:
                self.taken.append(Taken(when, cpu_s, sum(self.lock.held_cpu_s[held:])))

    def fold_and_save(self, seconds: float) -> None:
        """Fold as fast as it goes for so long at least, and until enough snapshots were taken."""
        done = threading.Event()
        began_s = time.perf_counter()
        saving = threading.Thread(target=self.save, args=(done,))
        saving.start()
        try:
            while saving.is_alive() and not self._is_enough(began_s + seconds):
                [batch] = self.clicks.of_anybody(0, stored.BATCH_EVENTS)
                start_cpu_s = time.thread_time()
                self.shard.apply(batch, 1)
                self.folded_cpu_s.append(time.thread_time() - start_cpu_s)
                self.folded_at_s.append(time.perf_counter())
                self.resident_bytes.append(_resident_bytes())
        finally:
            done.set()
            saving.join()

    def _is_enough(self, until_s: float) -> bool:
        return time.perf_counter() >= until_s and len(self.taken) >= SETTLING + 2

    def around(self, taken: Taken) -> list[Stretch]:
        """Just before and just after a snapshot."""
        first = self.folded_at_s[0]
        last = self.folded_at_s[-1]
        before = Stretch(max(first, taken.when.start_s - AROUND_S), taken.when.start_s)
        return [before, Stretch(taken.when.stop_s, min(last, taken.when.stop_s + AROUND_S))]

    def rate(self, stretches: list[Stretch]) -> float:
        """Events a second."""
        return (
            len(self._batches(stretches))
            * stored.BATCH_EVENTS
            / sum(stretch.seconds for stretch in stretches)
        )

    def cpu_s(self, stretches: list[Stretch]) -> float:
        """The median processor time of a batch; 0 where none ended meanwhile."""
        return median([self.folded_cpu_s[number] for number in self._batches(stretches)] or [0.0])

    def _batches(self, stretches: list[Stretch]) -> list[int]:
        at = np.array(self.folded_at_s)
        found = [
            np.flatnonzero((at > stretch.start_s) & (at <= stretch.stop_s)).tolist()
            for stretch in stretches
        ]
        return [number for numbers in found for number in numbers]


class Cost(NamedTuple):
    """Seconds of folding that something costs."""

    by_the_clock: float
    processor_free: float
    no_processor_free: float


def cost(filled: Filled, taken: Taken) -> Cost:
    """What a snapshot cost."""
    during = [taken.when]
    around = filled.around(taken)
    slower = 1 - filled.rate(during) / filled.rate(around)
    batches = filled.rate(during) * taken.when.seconds / stored.BATCH_EVENTS
    dearer_s = (filled.cpu_s(during) - filled.cpu_s(around)) * batches
    return Cost(taken.when.seconds * slower, dearer_s + taken.held_cpu_s, dearer_s + taken.cpu_s)


def measure(
    users: int, bundle: Bundle, folder: Path, settings: ShardSettings, seconds: float
) -> dict[str, object]:
    """One row of snapshot.json."""
    filled = Filled(users, bundle, folder, settings)
    filled.fold_and_save(seconds)
    settled = filled.taken[SETTLING:]
    counted = settled[:-1]  # each with the time until the next one begins
    apart_s = (settled[-1].when.start_s - settled[0].when.start_s) / len(counted)
    costs = np.array([cost(filled, taken) for taken in counted])
    taking_s = sum(taken.when.seconds for taken in counted)
    share = dict(zip(Cost._fields, (costs.mean(axis=0) / apart_s).round(4).tolist(), strict=True))
    return {
        "users": users,
        "events_per_s": round(median(filled.rate(filled.around(taken)) for taken in counted)),
        "events_per_s_beside": round(median(filled.rate([taken.when]) for taken in counted)),
        "overhead": share["by_the_clock"],
        "overhead_cpu": share["processor_free"],
        "overhead_cpu_no_processor_free": share["no_processor_free"],
        "overhead_beside": round(float(costs[:, 0].sum()) / taking_s, 4),
        "overhead_beside_cpu": round(float(costs[:, 1].sum()) / taking_s, 4),
        "overheads": (costs[:, 0] / apart_s).round(4).tolist(),
        "overheads_cpu": (costs[:, 1] / apart_s).round(4).tolist(),
        "apart_s": round(apart_s, 1),
        "snapshot_s": round(median(taken.when.seconds for taken in counted), 2),
        "snapshot_cpu_s": round(median(taken.cpu_s for taken in counted), 2),
        "snapshots": len(counted),
        **pauses(filled.lock),
        "extra_memory_mb": round((max(filled.resident_bytes) - filled.resident_bytes[0]) / 1e6),
    }


def pauses(lock: WatchedLock) -> dict[str, object]:
    """How long the lock was held at a time, of all snapshots."""
    held_ms = np.array(lock.held_s) * 1000
    held_cpu_ms = np.array(lock.held_cpu_s) * 1000
    return {
        "pieces": len(held_ms),
        "pause_ms_max": round(float(held_ms.max()), 2),
        "pause_ms_p999": round(float(np.quantile(held_ms, 0.999)), 2),
        "pause_ms_median": round(float(np.median(held_ms)), 2),
        "pause_cpu_ms_max": round(float(held_cpu_ms.max()), 2),
        "pause_cpu_ms_p999": round(float(np.quantile(held_cpu_ms, 0.999)), 2),
    }


def markdown(rows: list[dict[str, object]], origin: dict[str, str]) -> str:
    """snapshot.md from the content of snapshot.json."""
    heads = (
        "users", "events/s", "while taken", "overhead", "in processor time", "no processor free",
        "while taken", "apart, s", "a snapshot, s", "processor, s", "longest pause, ms",
        "in processor time", "99.9 %, ms", "median, ms", "memory, MB",
    )  # fmt: skip
    overheads = ("overhead", "overhead_cpu", "overhead_cpu_no_processor_free", "overhead_beside")
    seconds = ("apart_s", "snapshot_s", "snapshot_cpu_s")
    pauses = ("pause_ms_max", "pause_cpu_ms_max", "pause_ms_p999", "pause_ms_median")
    cells = [
        (
            *(f"{row[name]:,}" for name in ("users", "events_per_s", "events_per_s_beside")),
            *(f"{row[name]:.1%}" for name in overheads),
            *(row[name] for name in (*seconds, *pauses)),
            f"{row['extra_memory_mb']:,}",
        )
        for row in rows
    ]
    return (
        "# Snapshots while clicks are folded\n\n"
        f"{report.table(heads, cells)}\n\n"
        "One partition, folded as fast as one core does, every user equally likely to click; "
        "shipped settings: a "
        f"snapshot each\n{SETTINGS.snapshot_interval_s:.0f} s, or as far apart as "
        f"{SETTINGS.snapshot_share_max:.0%} of a processor's time for them demands. The overhead "
        "is the share of the "
        "throughput that\nsnapshots cost over the whole time, and while one is taken: each "
        "against the rate just "
        "before and after it; and the same in\nprocessor time, as `bench/snapshot.py` says. A "
        "pause is how long the "
        "thread that saves holds the store's lock, all that folding\nand reading ever wait for; "
        "`memory` is what the "
        "process took more at most.\n\n"
        f"{report.footer(origin)}\n"
    )


def main(
    quick: Annotated[
        bool, typer.Option(help="A few seconds, to see that it works; writes below out/bench/.")
    ] = False,
    users: Annotated[
        str, typer.Option(help="Numbers of users, with commas between.")
    ] = "100000,1000000",
    seconds: Annotated[
        float, typer.Option(help="Of folding each number of users, at least.")
    ] = 120.0,
    folder: Annotated[Path | None, typer.Option(help="Where the snapshots go meanwhile.")] = None,
    out: report.Out = None,
) -> None:
    """Measure how long snapshots stop folding and reading,
    and how much slower folding is with them.

    Needs about 8 KB of memory and 12 KB of disk a user, and some five minutes. Writes
    bench/results/snapshot.md and raw/snapshot.json (with --quick: out/bench/), and prints the
    table.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as in a shard's process
    place = report.folder_for(quick, out)
    console = Console()
    bundle = untrained.bundle(stored.ITEMS)
    sizes = [2000] if quick else [int(size) for size in users.split(",")]
    settings = replace(SETTINGS, snapshot_interval_s=1.0) if quick else SETTINGS
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task("snapshots", total=len(sizes))
        for size in sizes:
            progress.update(task, description=f"{size:,} users")
            with tempfile.TemporaryDirectory(dir=folder, prefix="echorank-snapshot-") as below:
                rows.append(measure(size, bundle, Path(below), settings, 0 if quick else seconds))
            progress.advance(task)
    origin = report.provenance(quick)
    text = markdown(rows, origin)
    found = {
        "rows": rows,
        "interval_s": settings.snapshot_interval_s,
        "share_max": settings.snapshot_share_max,
    }
    written = report.write("snapshot", {**found, **origin}, text, place)
    console.print(text, markup=False, soft_wrap=True)
    console.print(
        f"written: {written}/snapshot.md and raw/snapshot.json", markup=False, soft_wrap=True
    )


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    typer.run(main)
