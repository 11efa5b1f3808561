"""`echorank demo`: from nothing to a recovered, audited,
learning system on real clicks, in a few minutes.

1. Fetch MovieLens-100k; train on the earliest 80 % of its time line; publish a bundle.
2. Start broker, Ray, actors and gateway; stream the early clicks, so that the states are warm.
3. Stream the rest. Before each click, ask over gRPC for scores of its item among 99 unseen ones and
   for the top 10.
4. Half way, kill a shard's process with SIGKILL and watch it recover.
5. Replay the log in one uninterrupted pass and compare the digests of all states.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from actors.clicks.click import Click
from actors.clicks.formats import EventFormat, encode
from actors.errors import ShardUnavailable
from cluster.demo import offline as demo_offline
from cluster.demo.clicks import Question, clicks_of, questions
from cluster.demo.stream import Answers, Stream
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import producer
from cluster.lifecycle.system import System
from cluster.operate.client import Client
from cluster.settings.config import ArmSettings, Settings
from cluster.wiring.start import start_system

if TYPE_CHECKING:
    from training.runs import SplitRun

ARM = "main"
VICTIM = "shard-0"
RECOVERY_MAX_S = 120.0
APPLIED_MAX_S = 120.0
POLL_S = 0.05


@dataclass
class Recovery:
    """One kill: how long until the shard's users were answered from complete states again."""

    seconds: float | None = None


def run(
    settings: Settings, *, out: Path, clicks_per_s: float, minutes: float, seed: int
) -> dict[str, Any]:
    """Play the whole demonstration; returns the summary, also written to `out`/summary.json."""
    started = time.perf_counter()
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    for made_before in ("state", "archive"):
        shutil.rmtree(out / made_before, ignore_errors=True)
    console.rule("1. Train on the first 80 % of the time line")
    trained = _train(out, minutes, seed)
    earlier = clicks_of(trained.earlier)
    coming = clicks_of(trained.remaining)
    asked = questions(earlier, coming, trained.published.bundle.items, seed)
    # else the measuring client stops for 240 ms whenever Python's collector goes through all of
    # this
    gc.freeze()
    console.rule("2. Start broker, Ray, shards, ingest and gateway")
    with start_system(_settings(settings, out)) as system:
        system.wait_ready()
        console.print(
            f"gateway {system.gateway_address}, broker {system.broker_kind} at "
            f"{system.bootstrap_servers}"
        )
        summary = asyncio.run(
            _play(system, settings, trained, earlier, asked, clicks_per_s, console)
        )
    summary["seconds"] = round(time.perf_counter() - started, 1)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    console.print(_table(summary))
    console.print(f"written to {out / 'summary.json'}")
    return summary


def _train(out: Path, minutes: float, seed: int) -> SplitRun:
    from training.data import datasets  # noqa: PLC0415 - brings PyTorch, which serving does without
    from training.runs import QUICK, train_split  # noqa: PLC0415

    log = datasets.load("ml-100k")
    return train_split(
        log,
        out=out / "bundle",
        data_set="ml-100k",
        date=datetime.now(UTC).date().isoformat(),
        settings=dataclasses.replace(QUICK, seed=seed, minutes_max=minutes),
    )


def _settings(settings: Settings, out: Path) -> Settings:
    arm = ArmSettings(name=ARM, bundle=str(out / "bundle"), weight=10_000, role="live")
    state = settings.state.model_copy(update={"directory": str(out / "state")})
    archive = settings.archive.model_copy(update={"directory": str(out / "archive")})
    topics = settings.topics.model_copy(update={"create": settings.topics.create is not False})
    return settings.model_copy(
        update={"arms": [arm], "state": state, "archive": archive, "topics": topics}
    )


async def _play(
    system: System,
    settings: Settings,
    trained: SplitRun,
    earlier: Sequence[Click],
    asked: Sequence[Question],
    clicks_per_s: float,
    console: Console,
) -> dict[str, Any]:
    access = KafkaAccess(bootstrap_servers=system.bootstrap_servers)
    topic = settings.topics.clicks
    with closing(producer(access)) as log_writer:
        warm = await asyncio.to_thread(_warm, log_writer, topic, earlier)
        await asyncio.to_thread(_wait_applied, system, warm)
        console.print(f"{len(earlier):,} early clicks streamed: states are warm")
        console.rule(f"3. Stream {len(asked):,} clicks; ask before each")
        async with Client(system.gateway_address, timeout_s=5.0) as client:
            stream = Stream(client, log_writer, topic, clicks_per_s)
            stream.ends.update(warm)
            recovery = await _stream(system, stream, client, asked, console)
    await asyncio.to_thread(_wait_applied, system, stream.ends)
    console.rule("4. Replay the log and compare")
    digests = await asyncio.to_thread(system.digests)
    with closing(
        demo_offline.Replay(trained.published.bundle, access, topic, settings.topics.partitions)
    ) as replay:
        replay.until(warm)
        frozen = demo_offline.frozen_ranks(replay, trained.published.bundle, asked)
        replay.until(stream.ends)
        matches = replay.digests(ARM) == digests
        bytes_per_user = next(iter(replay.stores.values())).bytes_per_user
        users = replay.users()
    popular = demo_offline.popularity_ranks(earlier, asked)
    return _summary(stream.answers, frozen, popular) | {
        "bytes_per_user": bytes_per_user,
        "users": users,
        "recoveries": int(recovery.seconds is not None),
        "recovery_s": recovery.seconds,
        "state_digest_matches": matches,
        "broker": system.broker_kind,
    }


def _warm(log_writer: Any, topic: str, clicks: Sequence[Click]) -> dict[int, int]:
    """Produce the early clicks; returns the end of each partition."""
    form = EventFormat()
    ends = dict[int, int]()
    sent = [log_writer.send(topic, key=c.user.encode(), value=encode(c, form)) for c in clicks]
    log_writer.flush()
    for future in sent:
        written = future.get(timeout=30)
        ends[written.partition] = max(written.offset + 1, ends.get(written.partition, 0))
    return ends


def _wait_applied(system: System, ends: dict[int, int]) -> None:
    """Return when every click is folded; ShardUnavailable if that does not happen in time."""
    deadline = time.perf_counter() + APPLIED_MAX_S
    while behind := {p: end for p, end in ends.items() if system.positions().get(p, 0) < end}:
        if time.perf_counter() > deadline:
            raise ShardUnavailable(
                f"partitions {sorted(behind)} did not reach their ends {behind} within "
                f"{APPLIED_MAX_S:g} s; the actors' logs say why "
                "(ECHORANK__MONITORING__LOG_LEVEL=DEBUG shows them here)"
            )
        time.sleep(POLL_S)


async def _stream(
    system: System, stream: Stream, client: Client, asked: Sequence[Question], console: Console
) -> Recovery:
    recovery = Recovery()
    tasks = list[asyncio.Task[None]]()
    pids = await asyncio.to_thread(system.shard_pids)
    with Progress(*_columns(), console=console, refresh_per_second=4) as progress:
        bar = progress.add_task("streaming", total=len(asked), note="")

        def on_click(done: int) -> None:
            if done >= len(asked) // 2 and not tasks:
                progress.console.print(f"[bold red]kill -9 {pids[VICTIM]}[/bold red] ({VICTIM})")
                os.kill(pids[VICTIM], signal.SIGKILL)
                tasks.append(asyncio.create_task(_watch(client, stream, recovery, progress)))
            if done % 50 == 0 or done == len(asked):
                progress.update(bar, completed=done, note=_note(stream.answers))

        await stream.run(asked, on_click)
        await asyncio.gather(*tasks)
    return recovery


async def _watch(client: Client, stream: Stream, recovery: Recovery, progress: Progress) -> None:
    """Wait until every partition is answered by a state that holds all
    clicks produced before the kill.
    """
    killed = time.perf_counter()
    ends = dict(stream.ends)
    victims = {
        route.partition for route in (await client.routing()).routes if route.shard == VICTIM
    }
    users = _a_user_for_each(stream, victims)
    for partition, user in users.items():
        while not await _is_fresh(client, user, ends[partition]):
            if time.perf_counter() - killed > RECOVERY_MAX_S:
                progress.console.print(
                    f"[bold red]not recovered after {RECOVERY_MAX_S:g} s[/bold red]"
                )
                return
            await asyncio.sleep(POLL_S)
    recovery.seconds = round(time.perf_counter() - killed, 2)
    progress.console.print(
        f"[bold green]recovered after {recovery.seconds} s[/bold green]: complete states, fresh"
    )


def _a_user_for_each(stream: Stream, partitions: set[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for user, partition in stream.homes.items():
        if partition in partitions:
            found.setdefault(partition, user)
    return found


async def _is_fresh(client: Client, user: str, end: int) -> bool:
    try:
        answer = await client.recommend(user, 1, min_offset=end, timeout_s=1.0)
    except grpc.aio.AioRpcError:
        return False
    return not answer.origin.stale


def _columns() -> tuple[Any, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _note(answers: Answers) -> str:
    recent = answers.score_ms[-2000:] or [0.0]
    return (
        f"HR@10 {demo_offline.hit_ratio(answers.ranks):.3f}  score p99 "
        f"{np.percentile(recent, 99):.1f} ms"
    )


def _summary(answers: Answers, frozen: Sequence[int], popular: Sequence[int]) -> dict[str, Any]:
    ranks = {"": answers.ranks, "_frozen": frozen, "_popularity": popular}
    found: dict[str, Any] = {
        "events": len(answers.ranks),
        "events_per_s": round(len(answers.ranks) / answers.seconds, 1),
    }
    for suffix, places in ranks.items():
        found[f"hr10{suffix}"] = round(demo_offline.hit_ratio(places), 4)
        found[f"ndcg10{suffix}"] = round(demo_offline.ndcg(places), 4)
    return found | {
        "hr10_of_100": round(float(np.mean([place < 10 for place in answers.places])), 4),
        "auc": round(float(np.mean(answers.aucs)), 4),
        "score_ms_p50": round(float(np.percentile(answers.score_ms, 50)), 2),
        "score_ms_p99": round(float(np.percentile(answers.score_ms, 99)), 2),
        "event_to_score_ms_p99": round(float(np.percentile(answers.visible_ms, 99)), 1),
        "full_answers": round(answers.levels[1] / max(1, sum(answers.levels.values())), 4),
        "retries": answers.retries,
        "errors": answers.errors,
    }


def _table(summary: dict[str, Any]) -> Table:
    table = Table(title="Prequential: each click asked for before it happened")
    for column in ("", "HR@10", "NDCG@10"):
        table.add_column(column, justify="left" if not column else "right")
    for label, suffix in (
        ("streaming states", ""),
        ("frozen states", "_frozen"),
        ("popularity", "_popularity"),
    ):
        table.add_row(label, f"{summary[f'hr10{suffix}']:.4f}", f"{summary[f'ndcg10{suffix}']:.4f}")
    table.add_section()
    for key, value in summary.items():
        if not key.startswith(("hr10", "ndcg10")):
            table.add_row(key, str(value), "")
    return table
