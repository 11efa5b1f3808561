"""What `echorank replay` does: find the clicks and the states to begin
with, fold, report, compare, save.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from actors.archive.replay import fold
from actors.errors import ConfigError, EchoRankError, SnapshotError
from actors.ingest.ports import ClickHistory, Gap
from actors.snapshots import rebuild
from actors.snapshots.restore import NewStore, Restored, restore
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from cluster.operate.replay.checks import Check, ask, checks_of, explain, passes
from cluster.operate.replay.source import Source
from cluster.operate.replay.sources import Inputs, history
from cluster.operate.run_folders import runs_below
from cluster.settings.config import Settings
from model.bundle.bundle import Bundle
from model.bundle.load import load_bundle
from model.credentials import shown
from monitoring.addresses import reachable

log = logging.getLogger(__name__)

Stores = Mapping[str, PartitionStore]
REFRESH_HZ = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user wants."""

    partition: int
    start: int = 0
    stop: int | None = None
    arm: str | None = None
    verify: bool = False
    save: bool = False
    allow_gaps: bool = False
    source: Source = Source.BOTH
    address: str | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What came out."""

    stores: Stores
    clicks: int = 0
    seconds: float = 0.0
    gaps: list[Gap] = field(default_factory=list)


def run(settings: Settings, inputs: Inputs, order: Order) -> bool:
    """Do what the order says, and print it; whether nothing is missing that was asked for.

    Raises:
        ConfigError: the order or the settings cannot be used.
        EchoRankError: clicks, snapshots or bundles cannot be read.
    """
    console = Console(width=None if sys.stdout.isatty() else 200)
    arms = _bundles(settings, order)
    snapshots = inputs.snapshots
    new_store = functools.partial(
        PartitionStore,
        users_initial=settings.state.users_initial,
        bytes_per_user_max=settings.state.bytes_per_user_max,
        clock=inputs.clock,
    )
    checks = _checks(settings, order, arms, snapshots, new_store, console) if order.verify else []
    outcomes: dict[Check, bool] = {}
    with history(settings, inputs, order.source) as clicks:
        stops = {check.arm: check.position for check in checks} or _stops(clicks, order, arms)
        stores = _begin(settings, order, arms, snapshots, new_store, console)
        if order.verify:
            _something_to_verify(stores, {check.arm: check.position for check in reversed(checks)})
        replayed = Replayed(stores=stores)
        for check in checks:
            _fold(
                clicks,
                order.partition,
                replayed,
                {arm: min(stop, check.position) for arm, stop in stops.items()},
            )
            outcomes[check] = passes(check, stores[check.arm], console)
        _fold(clicks, order.partition, replayed, stops)
    _report(replayed, console)
    explain(outcomes, console)
    reached = _reached(stores, stops, console) or not (order.verify or order.stop)
    if order.save and reached:
        _save(order, replayed, snapshots, console)
    return reached and all(outcomes.values())


def _checks(
    settings: Settings,
    order: Order,
    arms: Mapping[str, Bundle],
    snapshots: SnapshotStore,
    new_store: NewStore,
    console: Console,
) -> list[Check]:
    """What to compare with, by offset: the live states and a snapshot taken now,
    or the newest one (below --to).
    """
    serving = settings.serving
    live = None
    address = order.address or reachable(serving.host, serving.port)
    if order.stop is not None:
        console.print(
            "comparing with a snapshot alone, as --to is given: the live states are beyond",
            highlight=False,
        )
    elif (live := ask(address, order.token or serving.admin_token, order.partition)) is None:
        text = (
            f"nothing listens at {address}, so there are no live states: comparing with the "
            "newest snapshot"
        )
        console.print(text, style="yellow", highlight=False, soft_wrap=True)
    saved = _saved(settings, order, arms, snapshots, new_store, order.stop)
    return checks_of(saved, live, address)


def _bundles(settings: Settings, order: Order) -> dict[str, Bundle]:
    if order.save and order.verify:
        raise ConfigError("--save and --verify exclude each other: verify first, then save")
    if order.partition >= settings.topics.partitions:
        raise ConfigError(
            f"there is no partition {order.partition}: topics.partitions is "
            f"{settings.topics.partitions}, so the last one is {settings.topics.partitions - 1}"
        )
    paths = {arm.name: arm.bundle for arm in settings.arms if order.arm in {None, arm.name}}
    if not paths:
        raise ConfigError(
            f"there is no arm {order.arm!r}; the arms are "
            f"{', '.join(a.name for a in settings.arms)}"
        )
    return {arm: load_bundle(path) for arm, path in paths.items()}


def _saved(
    settings: Settings,
    order: Order,
    arms: Mapping[str, Bundle],
    snapshots: SnapshotStore,
    new_store: NewStore,
    at_most: int | None,
) -> Stores:
    """Each arm's newest snapshot, at or below an offset; SnapshotError if there is none."""
    restored: dict[str, Restored] = restore(
        order.partition, arms, snapshots, new_store, lambda damage: log.error("%s", damage), at_most
    )
    for arm, found in restored.items():
        if found.chain is None:
            below = "" if at_most is None else f" at or below offset {at_most}"
            version = arms[arm].version
            where = settings.state.directory
            said = shown(where)
            raise SnapshotError(
                f"partition {order.partition}, arm {arm}: there is no snapshot of model "
                f"{version}{below} in {said}; {runs_below(where, 'state.directory')}"
            )
    return {arm: found.store for arm, found in restored.items()}


def _begin(
    settings: Settings,
    order: Order,
    arms: Mapping[str, Bundle],
    snapshots: SnapshotStore,
    new_store: NewStore,
    console: Console,
) -> Stores:
    if order.start == 0:
        return rebuild.empty(order.partition, arms, snapshots, new_store)
    stores = _saved(settings, order, arms, snapshots, new_store, order.start)
    for arm, store in stores.items():
        console.print(
            f"arm {arm} starts from the snapshot at offset {store.position:,} with "
            f"{store.users:,} users"
        )
    return stores


def _stops(clicks: ClickHistory, order: Order, arms: Mapping[str, Bundle]) -> dict[str, int]:
    stop = order.stop if order.stop is not None else clicks.end(order.partition)
    if stop is None:
        raise EchoRankError(
            f"there are no clicks of partition {order.partition} in {order.source.value}; check "
            "archive.directory, kafka.bootstrap_servers and topics.clicks"
        )
    return dict.fromkeys(arms, stop)


def _something_to_verify(stores: Stores, stops: Mapping[str, int]) -> None:
    for arm, store in stores.items():
        if store.position >= stops[arm]:
            raise ConfigError(
                f"arm {arm}: the replay would start at offset {store.position}, from the very "
                "snapshot that it is to verify; give a smaller --from"
            )


def _fold(
    clicks: ClickHistory, partition: int, replayed: Replayed, stops: Mapping[str, int]
) -> None:
    """Fold each arm on to its stop; nothing if all are there."""
    start = min(store.position for store in replayed.stores.values())
    stop = max(stops.values())
    if all(store.position >= stops[arm] for arm, store in replayed.stores.items()):
        return
    pieces = clicks.read(partition, start, stop)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True), refresh_per_second=REFRESH_HZ
    ) as progress:
        task = progress.add_task(f"partition {partition}", total=max(0, stop - start))
        before_s = replayed.seconds
        began = time.perf_counter()
        for piece in fold(pieces, replayed.stores, stops):
            if isinstance(piece, Gap):
                replayed.gaps.append(piece)
            else:
                replayed.clicks += len(piece)
            replayed.seconds = before_s + time.perf_counter() - began
            rate = replayed.clicks / max(replayed.seconds, 1e-9)
            described = f"partition {partition}, {rate:,.0f} clicks/s"
            progress.update(task, completed=piece.stop - start, description=described)


def _report(replayed: Replayed, console: Console) -> None:
    table = Table("arm", "model", "position", "users", "digest")
    for arm, store in replayed.stores.items():
        table.add_row(
            arm, store.bundle.version, f"{store.position:,}", f"{store.users:,}", store.digest()
        )
    console.print(table)
    rate = replayed.clicks / max(replayed.seconds, 1e-9)
    arms = len(replayed.stores)
    each = f", each folded into {arms} arms" if arms > 1 else ""
    text = f"{replayed.clicks:,} clicks in {replayed.seconds:,.1f} s: {rate:,.0f} clicks/s{each}"
    console.print(text, highlight=False)
    for gap in replayed.gaps:
        text = f"missing: offsets {gap.start} to {gap.stop - 1} ({gap.reason})"
        console.print(text, style="yellow", highlight=False, soft_wrap=True)


def _reached(stores: Stores, stops: Mapping[str, int], console: Console) -> bool:
    """Whether every arm came to its stop; a log may end before,
    and holds back what an open transaction covers.
    """
    short = {arm: store.position for arm, store in stores.items() if store.position < stops[arm]}
    for arm, position in short.items():
        text = f"arm {arm}: the clicks end at offset {position}, before {stops[arm]}"
        console.print(text, style="yellow", highlight=False, soft_wrap=True)
    return not short


def _save(order: Order, replayed: Replayed, snapshots: SnapshotStore, console: Console) -> None:
    if replayed.gaps and not order.allow_gaps:
        raise EchoRankError(
            f"nothing was saved: {len(replayed.gaps)} ranges of offsets are in neither archive "
            "nor log, so the states miss their clicks; bring the archive's files back, or save "
            "all the same with --allow-gaps"
        )
    manifest = rebuild.save(order.partition, replayed.stores, snapshots)
    console.print(
        f"saved as the newest snapshot of partition {order.partition}: epoch {manifest.epoch}, "
        f"offset {manifest.position}, arms {', '.join(manifest.arms)}"
    )
