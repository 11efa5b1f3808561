"""Events a second that one core folds, and bytes that a user takes.

One process pinned to one core folds the same interleaved stream three ways, in turn, several times
over:
    fold    `Bundle.fold`, the compiled kernel alone
    store   `PartitionStore.fold`, with index, item lookup and locks: what a shard does with a
            batch
    torch   `model.network.reference.step`, the same model in PyTorch, many users a step. It is
            spared what the fold has to do: its users' states lie ready in one tensor (no lookup,
            gather or scatter) and stay in float32 (no int8).
Every user's rows are warm: the first pass over the stream is not timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress

from actors.clicks.click import ClickBatch, key
from actors.clock import SystemClock
from actors.state.store import PartitionStore
from bench import report, untrained
from bench.report import Spread
from model.arrays import Doubles, Longs
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.network import Network
from model.network.reference import ReferenceState, step
from model.state import zeros

BATCH_EVENTS = 2000  # kafka.records_per_poll_max
TORCH_USERS = (64, 256, 1024)  # users a PyTorch step; the fastest counts
START_MS = 1_700_000_000_000


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much to fold."""

    events: int
    users: int
    items: int
    repeats: int
    torch_steps: int


FULL = Sizes(events=100_000, users=20_000, items=10_000, repeats=7, torch_steps=30)
QUICK = Sizes(events=4_000, users=200, items=500, repeats=2, torch_steps=3)


def stream(sizes: Sizes, seed: int = 7) -> tuple[Longs, list[ClickBatch]]:
    """Interleaved clicks, (user numbers, batches): popular items follow Zipf's law,
    active users come more often.
    """
    random = np.random.default_rng(seed)
    users = random.choice(sizes.users, sizes.events, p=zipf(sizes.users, 0.5))
    items = random.choice(sizes.items, sizes.events, p=zipf(sizes.items, 1.0))
    times = START_MS + np.cumsum(random.exponential(50.0, sizes.events)).astype(np.int64)
    user_keys = np.array([key(f"user-{n}") for n in range(sizes.users)], dtype=np.uint64)[users]
    item_keys = np.array([key(name) for name in untrained.catalogue(sizes.items)], dtype=np.uint64)[
        items
    ]
    actions = np.full(sizes.events, key("click"), dtype=np.uint64)
    batches = []
    for start in range(0, sizes.events, BATCH_EVENTS):
        part = slice(start, min(start + BATCH_EVENTS, sizes.events))
        batches.append(
            ClickBatch(
                partition=0,
                start=part.start,
                stop=part.stop,
                offsets=np.arange(part.start, part.stop, dtype=np.int64),
                users=user_keys[part],
                items=item_keys[part],
                actions=actions[part],
                times_ms=times[part],
                record_ms=times[part],
            )
        )
    return users, batches


def zipf(count: int, exponent: float) -> Doubles:
    """Shares of `count` ranks that sum to 1, (count,):
    the n-th is in proportion to 1 / n^exponent.
    """
    weights: Doubles = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    shares: Doubles = weights / weights.sum()
    return shares


def fold_pass(
    bundle: Bundle, users: Longs, batches: list[ClickBatch], capacity: int
) -> Callable[[], None]:
    """A function that folds the whole stream through `Bundle.fold`;
    columns are looked up beforehand.
    """
    rows = zeros(bundle.config, capacity)
    columns = [
        (
            users[b.start : b.stop],
            b.users,
            bundle.item_rows(b.items),
            bundle.action_ids(b.actions),
            b.times_ms,
            b.offsets,
        )
        for b in batches
    ]

    def run() -> None:
        for column in columns:
            bundle.fold(rows, *column)

    return run


def store_pass(store: PartitionStore, batches: list[ClickBatch]) -> Callable[[], None]:
    """A function that applies the stream to `store`, each time at the offsets after the last."""

    def run() -> None:
        first = store.position
        for batch in batches:
            start = batch.start + first
            stop = batch.stop + first
            store.fold(replace(batch, start=start, stop=stop, offsets=batch.offsets + first))

    return run


def torch_pass(config: ModelConfig, items: int, users: int, steps: int) -> Callable[[], None]:
    """A function that steps `users` users side by side, `steps` times."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Network(config, items).eval()
    chosen = torch.randint(0, items, (steps, users))
    actions = torch.zeros(users, dtype=torch.int64)
    state = ReferenceState.zeros(config, users)
    clock = START_MS

    @torch.inference_mode()
    def run() -> None:
        nonlocal state, clock
        for row in chosen:
            clock += 1000
            _, state = step(network, state, row, actions, torch.full((users,), clock))

    return run


def measure(sizes: Sizes, progress: Progress) -> tuple[dict[str, list[float]], PartitionStore]:
    """Events a second of every way and repeat, and the filled store."""
    bundle = untrained.bundle(sizes.items)
    users, batches = stream(sizes)
    store = PartitionStore(bundle, users_initial=1024, bytes_per_user_max=4096, clock=SystemClock())
    ways: dict[str, tuple[Callable[[], None], int]] = {
        "fold": (fold_pass(bundle, users, batches, sizes.users), sizes.events),
        "store": (store_pass(store, batches), sizes.events),
    }
    for count in TORCH_USERS:
        ways[f"torch, {count} users a step"] = (
            torch_pass(bundle.config, sizes.items, count, sizes.torch_steps),
            count * sizes.torch_steps,
        )
    rates: dict[str, list[float]] = {name: [] for name in ways}
    task = progress.add_task("warm-up", total=len(ways) * (sizes.repeats + 1))
    for repeat in range(sizes.repeats + 1):
        for name, (run, events) in ways.items():
            progress.update(task, description=f"repeat {repeat}/{sizes.repeats}: {name}")
            started = time.perf_counter()
            run()
            if repeat:
                rates[name].append(events / (time.perf_counter() - started))
            progress.advance(task)
    return rates, store


def figures(
    rates: dict[str, list[float]], store: PartitionStore, sizes: Sizes, quick: bool
) -> dict[str, object]:
    """The content of fold.json."""
    spreads = {name: Spread.of(values) for name, values in rates.items()}
    best_torch = max(
        (name for name in spreads if name.startswith("torch")),
        key=lambda name: spreads[name].median,
    )
    ratios = [fold / torch for fold, torch in zip(rates["fold"], rates[best_torch], strict=True)]
    return {
        "events_per_s": round(spreads["fold"].median),
        "store_events_per_s": round(spreads["store"].median),
        "torch_events_per_s": round(spreads[best_torch].median),
        "ratio_to_torch": round(Spread.of(ratios).median, 2),
        "bytes_per_user": round(store.bytes_hot / store.users),
        "row_bytes": store.bundle.layout.row_bytes,
        "users": store.users,
        "events_a_repeat": sizes.events,
        "repeats": sizes.repeats,
        "best_torch": best_torch,
        "spread": {
            name: {k: round(v) for k, v in spread._asdict().items()}
            for name, spread in spreads.items()
        },
        **report.provenance(quick),
    }


def markdown(found: dict[str, object]) -> str:
    """fold.md from the content of fold.json."""
    spread = found["spread"]
    assert isinstance(spread, dict)
    rows = [
        (
            name,
            *(f"{value:,}" for value in of.values()),
            f"{of['median'] / found['torch_events_per_s']:.2f}",
        )
        for name, of in spread.items()
    ]
    origin = {
        k: str(found[k]) for k in ("date", "commit", "command", "hardware", "software", "size")
    }
    heads = ("way", "events/s, median", "min", "max", "ratio to the best torch")
    return (
        "# Folding events on one core\n\n"
        f"{report.table(heads, rows)}\n\n"
        f"A user takes {found['bytes_per_user']:,} bytes, index included ({found['row_bytes']:,} "
        "of state), over "
        f"{found['users']:,} users.\n{found['repeats']} repeats of {found['events_a_repeat']:,} "
        "events, the ways in "
        "turn in one process pinned to one core.\nPyTorch is spared lookup and int8: see "
        "`bench/fold.py`.\n\n"
        f"{report.footer(origin)}\n"
    )


def main(
    quick: Annotated[
        bool, typer.Option(help="A few seconds, to see that it works; writes below out/bench/.")
    ] = False,
    events: Annotated[int, typer.Option(help="Events a repeat; 0 leaves the default.")] = 0,
    users: Annotated[int, typer.Option(help="Users in the stream; 0 leaves the default.")] = 0,
    repeats: Annotated[int, typer.Option(help="Timed passes; 0 leaves the default.")] = 0,
    out: report.Out = None,
) -> None:
    """Measure the compiled fold against the same model in batched PyTorch, on one core.

    Reads nothing, starts no server. Writes bench/results/fold.md and raw/fold.json (with --quick:
    out/bench/), and prints the table. The ratio counts: absolute figures move with the machine and
    with what else runs on it.
    """
    place = report.folder_for(quick, out)
    base = QUICK if quick else FULL
    sizes = Sizes(
        events=events or base.events,
        users=users or base.users,
        items=base.items,
        repeats=repeats or base.repeats,
        torch_steps=base.torch_steps,
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    console = Console()
    with Progress(console=console) as progress:
        rates, store = measure(sizes, progress)
    found = figures(rates, store, sizes, quick)
    text = markdown(found)
    folder = report.write("fold", found, text, place)
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"written: {folder}/fold.md and raw/fold.json", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
