"""How long a shard takes to come back: bytes, seconds, and what the running shard had predicted.

One process, one partition after the other as a shard restores them. Everybody has clicked once, so
the chain has a base of all users; a quarter of them have clicked again since, so it has a file of
changes too. Then

    a shard restores, which tells it the rates, folds the clicks that lie above the snapshot, and
    predicts its recovery; another one, as after a crash, restores and folds the same clicks: this
    is measured, and compared.

The files are read from the disk both times: what the system's memory holds of them is dropped
before. They are read once without being used before all that, as a virtual disk's host may hold
them in its memory from then on: a first read took twice as long as the second, and which of them a
machine gives has nothing to do with the forecast.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from actors.clicks.click import ClickBatch
from actors.shard.shard import Shard
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from bench import report, stored, untrained
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

CHANGED_SHARE = 0.25  # of the users, after the base
OTHER_BYTES = 1 << 30  # what the process takes besides the states
REPLAYED_EVENTS = 50_000  # 10 s, the snapshot interval, of 5,000 clicks/s


def fill(shard: Shard, clicks: stored.Clicks) -> list[str]:
    """Save everybody's first click, then a second one of some; the digest of each partition."""
    for partition in range(clicks.partitions):
        shard.hold(partition, 1)
        for share in (1.0, CHANGED_SHARE):
            for batch in clicks.of_everybody(partition, share):
                shard.apply(batch, 1)
            shard.snapshot(partition)
    return [shard.digest(partition, stored.ARM) for partition in range(clicks.partitions)]


def check_room(users: int, bundle: Bundle, folder: Path) -> None:
    """End with a message if a run with so many users does not fit;
    one shard at a time is in memory.

    Raises:
        SystemExit: too little memory or disk is free.
    """
    row_bytes = bundle.layout.row_bytes + BYTES_BESIDE_ROW_MAX
    needed = {
        "memory": OTHER_BYTES + users * row_bytes,
        f"disk below {folder}": int(users * row_bytes * (1 + CHANGED_SHARE)),
    }
    free = dict(zip(needed, (available_bytes(), shutil.disk_usage(folder).free), strict=True))
    for what, size in needed.items():
        if size > free[what]:
            raise SystemExit(
                f"{users:,} users need {size / 1e9:.1f} GB of {what}, but {free[what] / 1e9:.1f} "
                "GB are free; free some, name another --folder, or ask for fewer with --users"
            )


def available_bytes() -> int:
    """Memory that can be taken without swapping; all of it where the system does not say."""
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def restore(shard: Shard, partitions: int, epoch: int) -> float:
    """Own all partitions; the seconds."""
    started = time.perf_counter()
    for partition in range(partitions):
        shard.hold(partition, epoch)
    return time.perf_counter() - started


def replay(shard: Shard, batches: list[ClickBatch], epoch: int) -> float:
    """Fold the batches; the seconds."""
    started = time.perf_counter()
    for batch in batches:
        shard.apply(batch, epoch)
    return time.perf_counter() - started


def total(metrics: Metrics, name: str, partitions: int) -> float:
    """The sum of the partitions' gauges, as they are restored one by one."""
    return sum(stored.sample(metrics, name, partition=str(number)) for number in range(partitions))


def measure(users: int, partitions: int, bundle: Bundle, folder: Path) -> dict[str, object]:
    """One row of recovery.json."""
    clicks = stored.Clicks(users, partitions)
    digests = fill(stored.shard(folder, bundle, Metrics(CollectorRegistry())), clicks)
    tail = [
        batch
        for partition in range(partitions)
        for batch in clicks.of_anybody(partition, REPLAYED_EVENTS // partitions)
    ]
    metrics = Metrics(CollectorRegistry())
    running = stored.shard(folder, bundle, metrics)
    gc.collect()
    stored.forget_cached(folder)
    first_read_s = stored.read_through(folder)
    stored.forget_cached(folder)
    first_s = restore(running, partitions, 2)
    predicted_restore_s = total(metrics, "recovery_predicted_seconds", partitions)
    replay(running, tail, 2)
    for partition in range(partitions):
        running.observe_end(partition, running.positions()[partition])
    predicted_recovery_s = total(metrics, "recovery_predicted_seconds", partitions)
    size_bytes = total(metrics, "snapshot_bytes", partitions)
    del running, metrics
    gc.collect()
    stored.forget_cached(folder)
    restarted = stored.shard(folder, bundle, Metrics(CollectorRegistry()))
    restore_s = restore(restarted, partitions, 3)
    equal = digests == [restarted.digest(partition, stored.ARM) for partition in range(partitions)]
    replay_s = replay(restarted, tail, 3)
    return {
        "users": users,
        "bytes": round(size_bytes),
        "restore_s": round(restore_s, 2),
        "predicted_s": round(predicted_restore_s, 2),
        "first_restore_s": round(first_s, 2),
        "first_read_s": round(first_read_s, 2),
        "recovery_s": round(restore_s + replay_s, 2),
        "recovery_predicted_s": round(predicted_recovery_s, 2),
        "byte_equal": equal,
    }


def markdown(rows: list[dict[str, object]], partitions: int, origin: dict[str, str]) -> str:
    """recovery.md from the content of recovery.json."""
    heads = (
        "users",
        "GB",
        "restore, s",
        "predicted, s",
        "and replay, s",
        "predicted, s",
        "equal",
    )
    cells = [
        (
            f"{row['users']:,}",
            f"{float(str(row['bytes'])) / 1e9:.2f}",
            *(
                row[name]
                for name in ("restore_s", "predicted_s", "recovery_s", "recovery_predicted_s")
            ),
            "yes" if row["byte_equal"] else "NO",
        )
        for row in rows
    ]
    return (
        "# Coming back after a crash\n\n"
        f"{report.table(heads, cells)}\n\n"
        f"A shard of {partitions} partitions, restored one after the other from a local disk, "
        "nothing cached: a base "
        f"of all users\nand a file with {CHANGED_SHARE:.0%} of them changed, every checksum "
        "verified; then "
        f"{REPLAYED_EVENTS:,} clicks are folded. The predictions are the sums\nof "
        "`recovery_predicted_seconds`, as a "
        "shard exported them that had restored the same files before. `equal`: the restored "
        "states'\ndigests are those "
        "that were saved.\n\n"
        f"{report.footer(origin)}\n"
    )


def main(
    quick: Annotated[
        bool, typer.Option(help="A few seconds, to see that it works; writes below out/bench/.")
    ] = False,
    users: Annotated[
        str, typer.Option(help="Numbers of users, with commas between.")
    ] = "100000,1000000",
    partitions: Annotated[int, typer.Option(help="Partitions of the shard.")] = 8,
    folder: Annotated[Path | None, typer.Option(help="Where the snapshots go meanwhile.")] = None,
    out: report.Out = None,
) -> None:
    """Measure how long a shard's recovery takes, and how well it was predicted.

    Needs about 4 KB of memory and 5 KB of disk a user, and says so at once if they are not there.
    Writes bench/results/recovery.md and raw/recovery.json (with --quick: out/bench/), and prints
    the table.
    """
    place = report.folder_for(quick, out)
    console = Console()
    bundle = untrained.bundle(stored.ITEMS)
    sizes = [2000] if quick else [int(size) for size in users.split(",")]
    for size in sizes:
        check_room(size, bundle, folder or Path(tempfile.gettempdir()))
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task("recovery", total=len(sizes))
        for size in sizes:
            progress.update(task, description=f"{size:,} users")
            with tempfile.TemporaryDirectory(dir=folder, prefix="echorank-recovery-") as below:
                rows.append(measure(size, partitions, bundle, Path(below)))
            progress.advance(task)
    origin = report.provenance(quick)
    found = {"rows": rows, "partitions": partitions, **origin}
    text = markdown(rows, partitions, origin)
    written = report.write("recovery", found, text, place)
    console.print(text, markup=False, soft_wrap=True)
    console.print(
        f"written: {written}/recovery.md and raw/recovery.json", markup=False, soft_wrap=True
    )


if __name__ == "__main__":
    typer.run(main)
