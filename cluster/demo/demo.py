"""`echorank demo`: from nothing to a recovered, audited,
learning system on real clicks, in two minutes or three.

1. Fetch MovieLens-100k; train on the earliest 80 % of its time line; publish a bundle.
2. Start broker, Ray, actors and gateway; stream the early clicks, so that the states are warm.
3. Stream the rest. Before some clicks of each user, or before every click (`--full`), ask over gRPC
   for scores of its item among 99 unseen ones and for the top 10.
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
from collections.abc import Mapping, Sequence
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
    track,
)

from actors.clicks.click import Click
from actors.clicks.formats import EventFormat, encode
from actors.errors import ShardUnavailable
from cluster.demo import offline as demo_offline
from cluster.demo import report
from cluster.demo.clicks import Question, clicks_of, questions
from cluster.demo.phases import Phases
from cluster.demo.stream import Answers, Stream
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import producer
from cluster.lifecycle.system import System
from cluster.operate.client import Client
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings
from cluster.wiring.real import real
from cluster.wiring.start import start_system

if TYPE_CHECKING:
    from training.runs import SplitRun

ARM = "main"
VICTIM = "shard-0"
ASKED_SHARE = 0.1  # of each user's clicks, unless every click is asked about
RECOVERY_MAX_S = 120.0
APPLIED_MAX_S = 120.0
POLL_S = 0.05


@dataclass
class Recovery:
    """One kill: how long until the shard's users were answered from complete states again."""

    seconds: float | None = None


def run(
    settings: Settings, *, out: Path, clicks_per_s: float, minutes: float, seed: int, full: bool
) -> dict[str, Any]:
    """Play the whole demonstration; returns the summary, also written to `out`/summary.json.

    `full` asks before every click, else before ASKED_SHARE of each user's.
    """
    started = time.perf_counter()
    console = Console()
    phases = Phases(console)
    out.mkdir(parents=True, exist_ok=True)
    for made_before in ("state", "archive"):
        shutil.rmtree(out / made_before, ignore_errors=True)
    phases.begin("training", f"Train on the first 80 % of the time line, {minutes:g} min at most")
    trained = _train(out, minutes, seed)
    earlier = clicks_of(trained.earlier)
    plan = questions(
        earlier,
        clicks_of(trained.remaining),
        trained.published.bundle.items,
        seed,
        share=1.0 if full else ASKED_SHARE,
    )
    # else the measuring client stops for 240 ms whenever Python's collector goes through all of
    # this
    gc.freeze()
    phases.begin("starting", "Start broker, Ray, shards, ingest and gateway")
    with start_system(_settings(settings, out)) as system:
        system.wait_ready()
        console.print(
            f"gateway {system.gateway_address}, broker {system.broker_kind} at "
            f"{system.bootstrap_servers}"
        )
        play = Play(system, settings, trained, earlier, plan, clicks_per_s, console, phases)
        summary = asyncio.run(play.run())
        phases.begin("stopping", "Stop")
    phases.end()
    summary |= {f"{name}_s": seconds for name, seconds in phases.seconds.items()}
    summary["seconds"] = round(time.perf_counter() - started, 1)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    console.print(report.table(summary))
    console.print(report.sampled(summary))
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


@dataclass(frozen=True)
class Play:
    """Everything that happens while the system runs."""

    system: System
    settings: Settings
    trained: SplitRun
    earlier: Sequence[Click]
    plan: Sequence[Question]
    clicks_per_s: float
    console: Console
    phases: Phases

    async def run(self) -> dict[str, Any]:
        """Warm the states, stream, kill, recover and compare; returns the summary."""
        access = KafkaAccess(bootstrap_servers=self.system.bootstrap_servers)
        topic = self.settings.topics.clicks
        asked = [question for question in self.plan if question.candidates]
        with closing(producer(access)) as log_writer:
            self.phases.begin("warming", f"Stream {len(self.earlier):,} early clicks: warm states")
            warm = await asyncio.to_thread(_warm, log_writer, topic, self.earlier)
            await asyncio.to_thread(_wait_applied, self.system, warm)
            self.phases.begin(
                "streaming", f"Stream {len(self.plan):,} clicks; ask before {len(asked):,} of them"
            )
            async with Client(self.system.gateway_address, timeout_s=5.0) as client:
                stream = Stream(client, log_writer, topic, self.clicks_per_s)
                stream.ends.update(warm)
                recovery = await _stream(self.system, stream, client, self.plan, self.console)
        await asyncio.to_thread(_wait_applied, self.system, stream.ends)
        self.phases.begin("replaying", "Replay the log in one pass, ask frozen states, compare")
        compared = await asyncio.to_thread(self._compare, access, warm, stream.ends, asked)
        popular = demo_offline.popularity_ranks(self.earlier, self.plan)
        return report.summary(self.plan, stream.answers, compared.frozen, popular) | {
            "bytes_per_user": compared.bytes_per_user,
            "users": compared.users,
            "recoveries": int(recovery.seconds is not None),
            "recovery_s": recovery.seconds,
            "state_digest_matches": compared.matches,
            "broker": self.system.broker_kind,
        }

    def _compare(
        self,
        access: KafkaAccess,
        warm: Mapping[int, int],
        ends: Mapping[int, int],
        asked: Sequence[Question],
    ) -> Compared:
        """Fold the same log here; its states after the early clicks are the frozen ones."""
        digests = self.system.digests()
        bundle = self.trained.published.bundle
        topics = self.settings.topics
        world = real(self.settings)
        click_log = world.kafka.log(
            access, topic=topics.clicks, poll_timeout_ms=100, records_per_poll_max=5000
        )
        with closing(
            demo_offline.Replay(bundle, click_log, world.clock, topics.partitions)
        ) as replay:
            replay.until(warm)
            shown = track(asked, "asking frozen states", console=self.console)
            frozen = demo_offline.frozen_ranks(replay, bundle, shown)
            replay.until(ends)
            return Compared(
                frozen=frozen,
                matches=replay.digests(ARM) == digests,
                bytes_per_user=next(iter(replay.stores.values())).bytes_per_user,
                users=replay.users(),
            )


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What one uninterrupted pass over the log says."""

    frozen: list[int]  # ranks by the states of the early clicks
    matches: bool  # the running system's states equal those of the pass, byte for byte
    bytes_per_user: int
    users: int


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
    system: System, stream: Stream, client: Client, plan: Sequence[Question], console: Console
) -> Recovery:
    recovery = Recovery()
    tasks = list[asyncio.Task[None]]()
    pids = await asyncio.to_thread(system.shard_pids)
    with Progress(*_columns(), console=console, refresh_per_second=4) as progress:
        bar = progress.add_task("streaming", total=len(plan), note="")

        def on_click(done: int) -> None:
            if done >= len(plan) // 2 and not tasks:
                progress.console.print(f"[bold red]kill -9 {pids[VICTIM]}[/bold red] ({VICTIM})")
                os.kill(pids[VICTIM], signal.SIGKILL)
                tasks.append(asyncio.create_task(_watch(client, stream, recovery, progress)))
            if done % 50 == 0 or done == len(plan):
                progress.update(bar, completed=done, note=_note(stream.answers))

        await stream.run(plan, on_click)
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
    if not answers.score_ms:
        return ""
    hit_ratio = np.mean(report.hits(answers.ranks))
    score_ms = np.percentile(answers.score_ms[-2000:], 99)
    return f"HR@10 {hit_ratio:.3f}  score p99 {score_ms:.1f} ms"
