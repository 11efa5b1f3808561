"""Clicks a second that one core replays, from the archive and from the log's records.

One process pinned to one core rebuilds a partition into a fresh store, in turn, several times over:
    archive          Parquet files of an archive on the local disk: read, checked, ids hashed,
                     folded
    log              records as Kafka gives them, in memory: protobuf decoded, checked, ids hashed,
                     folded
    JSON log         the same of JSON
    ..., no fold     the same without folding
    ..., one by one  every record decoded by itself, as odd ones are: what decoding together is
                     worth
    store            `PartitionStore.fold` alone, on batches that are ready: what the fold leaves
                     room for
Each store starts empty, as a replay's does, so pages are faulted in and the index grows within the
time. Rates are by the clock, and by the processor time of the process: on a machine that others use
too, the second is what a core does.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.progress import Progress

from actors.archive.files import ArchiveFiles
from actors.archive.parquet import ROWS_PER_GROUP, SCHEMA, Place
from actors.archive.reader import ArchiveReader
from actors.archive.replay import fold
from actors.clicks.click import Click, ClickBatch
from actors.clicks.codec import TOGETHER_MIN, Decoder
from actors.clicks.formats import EventFormat, encode
from actors.clock import SystemClock
from actors.ingest.ports import Gap
from actors.state.store import PartitionStore
from bench import report, untrained
from bench.fold import START_MS, zipf
from bench.report import Spread
from model.bundle.bundle import Bundle

CLICKS_PER_FILE = 100_000  # archive.roll_records
RECORDS_PER_POLL = 50_000  # as `echorank replay` reads the log
ONE_BY_ONE = sys.maxsize
Piece = ClickBatch | Gap


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much to replay."""

    clicks: int
    users: int
    items: int
    repeats: int


FULL = Sizes(clicks=400_000, users=20_000, items=10_000, repeats=5)
QUICK = Sizes(clicks=20_000, users=500, items=500, repeats=2)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as Kafka gives it."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


class Rate(NamedTuple):
    """Clicks a second, by the clock and by the processor time of this process."""

    wall: float
    cpu: float


def clicks(sizes: Sizes, seed: int = 7) -> pa.Table:
    """Interleaved clicks of SCHEMA: popular items follow Zipf's law,
    active users come more often.
    """
    random = np.random.default_rng(seed)
    users = random.choice(sizes.users, sizes.clicks, p=zipf(sizes.users, 0.5))
    items = random.choice(sizes.items, sizes.clicks, p=zipf(sizes.items, 1.0))
    times = START_MS + np.cumsum(random.exponential(50.0, sizes.clicks)).astype(np.int64)
    names = (
        pa.array([f"user-{n}" for n in range(sizes.users)]),
        pa.array(untrained.catalogue(sizes.items)),
    )
    columns = [
        *(name.take(pa.array(which)) for name, which in zip(names, (users, items), strict=True)),
        pa.repeat("click", sizes.clicks),
        *map(pa.array, (times, np.arange(sizes.clicks), times)),
    ]
    return pa.table(columns, schema=SCHEMA)


def archived(root: Path, table: pa.Table) -> ArchiveReader:
    """The clicks as an archive's files."""
    files = ArchiveFiles.from_uri(str(root))
    for start in range(0, len(table), CLICKS_PER_FILE):
        part = table.slice(start, CLICKS_PER_FILE).combine_chunks()
        place = Place(0, start, start + len(part))
        files.write(place, part, date_ms=START_MS, after=files.end(0))
    return ArchiveReader(files, batch_clicks=ROWS_PER_GROUP)


def records(table: pa.Table, event_format: EventFormat) -> list[Record]:
    """The clicks as the log's records."""
    return [
        Record(
            row["offset"],
            row["record_ms"],
            row["user"].encode(),
            encode(Click(row["user"], row["item"], row["action"], row["time_ms"]), event_format),
        )
        for row in table.to_pylist()
    ]


def decoded(
    log: list[Record], event_format: EventFormat, together_min: int = TOGETHER_MIN
) -> Iterator[Piece]:
    """The log's records as batches, a poll at a time."""
    decoder = Decoder(event_format, SystemClock(), together_min=together_min)
    for start in range(0, len(log), RECORDS_PER_POLL):
        polled = log[start : start + RECORDS_PER_POLL]
        yield decoder.decode_batch(0, start, start + len(polled), polled)[0]


def measure(sizes: Sizes, root: Path, progress: Progress) -> tuple[dict[str, list[Rate]], set[str]]:
    """The rates of every way and repeat,
    and the digests of what was rebuilt: one, if all is right.
    """
    bundle = untrained.bundle(sizes.items)
    table = clicks(sizes)
    reader = archived(root, table)
    protobuf, json = (
        (records(table, of), of) for of in (EventFormat(), EventFormat(format="json"))
    )
    ready = list(decoded(*protobuf))
    sources: dict[str, Callable[[], Iterable[Piece]]] = {
        "archive": lambda: reader.read(0, 0, sizes.clicks),
        "log": lambda: decoded(*protobuf),
        "JSON log": lambda: decoded(*json),
        "store": lambda: ready,
        "log, one by one": lambda: decoded(*protobuf, ONE_BY_ONE),
        "JSON log, one by one": lambda: decoded(*json, ONE_BY_ONE),
    }
    ways = [(name, True) for name in ("archive", "log", "JSON log", "store")]
    ways += [(name, False) for name in sources if name != "store"]
    rates: dict[str, list[Rate]] = {_name(*way): [] for way in ways}
    digests = set()
    task = progress.add_task("warm-up", total=len(ways) * (sizes.repeats + 1))
    for repeat in range(sizes.repeats + 1):
        for name, folding in ways:
            progress.update(
                task, description=f"repeat {repeat}/{sizes.repeats}: {_name(name, folding)}"
            )
            rate, digest = _timed(bundle, sources[name](), sizes.clicks, folding=folding)
            if repeat:
                rates[_name(name, folding)].append(rate)
            if digest:
                digests.add(digest)
            progress.advance(task)
    return rates, digests


def figures(
    rates: dict[str, list[Rate]], digests: set[str], sizes: Sizes, quick: bool
) -> dict[str, object]:
    """The content of replay.json."""
    spreads = {
        name: {
            "wall": _spread([rate.wall for rate in of]),
            "cpu": _spread([rate.cpu for rate in of]),
        }
        for name, of in rates.items()
    }
    return {
        "archive_events_per_s": spreads["archive"]["wall"]["median"],
        "archive_events_per_cpu_s": spreads["archive"]["cpu"]["median"],
        "log_events_per_s": spreads["log"]["wall"]["median"],
        "log_events_per_cpu_s": spreads["log"]["cpu"]["median"],
        "json_log_events_per_s": spreads["JSON log"]["wall"]["median"],
        "json_log_events_per_cpu_s": spreads["JSON log"]["cpu"]["median"],
        "store_events_per_cpu_s": spreads["store"]["cpu"]["median"],
        "clicks": sizes.clicks,
        "users": sizes.users,
        "repeats": sizes.repeats,
        "digests": sorted(digests),
        "spread": spreads,
        **report.provenance(quick),
    }


def markdown(found: dict[str, object]) -> str:
    """replay.md from the content of replay.json."""
    spread = found["spread"]
    assert isinstance(spread, dict)
    rows = [
        (
            name,
            *(f"{value:,}" for value in of["wall"].values()),
            *(f"{value:,}" for value in of["cpu"].values()),
        )
        for name, of in spread.items()
    ]
    origin = {
        k: str(found[k]) for k in ("date", "commit", "command", "hardware", "software", "size")
    }
    heads = ("way", "clicks/s, median", "min", "max", "clicks/CPU second, median", "min", "max")
    return (
        "# Replaying a partition on one core\n\n"
        f"{report.table(heads, rows)}\n\n"
        f"{found['repeats']} repeats of {found['clicks']:,} clicks of {found['users']:,} users "
        "into a fresh store, the "
        "ways in turn in one process pinned to one core; see `bench/replay.py`.\nWhere the two "
        "rates differ, others "
        "used the machine as well. For the log, reading Kafka itself comes on top.\n"
        f"Every way gave the same states: digest {', '.join(map(str, found['digests']))}.\n\n"  # type: ignore[call-overload]
        f"{report.footer(origin)}\n"
    )


def main(
    quick: Annotated[
        bool, typer.Option(help="A few seconds, to see that it works; writes below out/bench/.")
    ] = False,
    events: Annotated[int, typer.Option(help="Clicks a repeat; 0 leaves the default.")] = 0,
    users: Annotated[int, typer.Option(help="Users in the clicks; 0 leaves the default.")] = 0,
    repeats: Annotated[int, typer.Option(help="Timed passes; 0 leaves the default.")] = 0,
    out: report.Out = None,
) -> None:
    """Measure how fast one core rebuilds a partition's states from archive and log.

    Starts no server. Writes bench/results/replay.md and raw/replay.json (with --quick: out/bench/),
    and prints the table.
    """
    place = report.folder_for(quick, out)
    base = QUICK if quick else FULL
    sizes = Sizes(
        clicks=events or base.clicks,
        users=users or base.users,
        items=base.items,
        repeats=repeats or base.repeats,
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    console = Console()
    with tempfile.TemporaryDirectory() as root, Progress(console=console) as progress:
        rates, digests = measure(sizes, Path(root), progress)
    found = figures(rates, digests, sizes, quick)
    text = markdown(found)
    folder = report.write("replay", found, text, place)
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"written: {folder}/replay.md and raw/replay.json", markup=False, soft_wrap=True)


def _timed(
    bundle: Bundle, pieces: Iterable[Piece], count: int, *, folding: bool
) -> tuple[Rate, str | None]:
    store = PartitionStore(bundle, users_initial=1024, bytes_per_user_max=4096, clock=SystemClock())
    wall = time.perf_counter()
    cpu = time.process_time()
    done = fold(pieces, {"main": store}, {"main": count}) if folding else pieces
    seen = sum(len(piece) for piece in done if isinstance(piece, ClickBatch))
    rate = Rate(seen / (time.perf_counter() - wall), seen / (time.process_time() - cpu))
    assert seen == count, f"{seen} clicks of {count}"
    return rate, store.digest() if folding else None


def _name(source: str, folding: bool) -> str:
    return source if folding else f"{source}, no fold"


def _spread(values: list[float]) -> dict[str, int]:
    return {name: round(value) for name, value in Spread.of(values)._asdict().items()}


if __name__ == "__main__":
    typer.run(main)
