"""Latency and rate of `Score` on the running system,
beside a bare gRPC echo of the same message sizes.

Starts everything (broker, Ray, shards, gateway) on this machine, fills the users' states through
Kafka, then drives the gateway for each number of candidates and each concurrency: first without
ingest, then while clicks arrive at a steady rate. The echo (`bench.echo`) is driven right after
each row under the same conditions, so the difference between the two is what EchoRank adds: a
second hop, parsing, routing and the model.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from kafka import KafkaProducer
from rich.console import Console
from rich.progress import Progress

from actors.clicks.partitioner import partition_of
from bench import echo, report, untrained
from bench.clicks import click, produce
from bench.load import Driver, choose
from cluster.broker.free_port import free_port
from cluster.operate.client import Client
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings, MonitoringSettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.wiring.start import start_system
from model.bundle.load import load_bundle
from rpc.echorank_pb2 import ScoreRequest

CONCURRENCIES = (1, 8)
REQUESTS = 64  # different ones, sent round robin
WARM_UP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and for how long."""

    candidates: tuple[int, ...]
    users: int
    items: int
    clicks_a_user: int
    clicks_per_s: float
    seconds: float  # a row
    floor_seconds: float


FULL = Plan(
    candidates=(1, 100, 500, 2000),
    users=2000,
    items=5000,
    clicks_a_user=40,
    clicks_per_s=1000.0,
    seconds=6.0,
    floor_seconds=2.0,
)
QUICK = Plan(
    candidates=(1, 100),
    users=50,
    items=200,
    clicks_a_user=5,
    clicks_per_s=100.0,
    seconds=0.5,
    floor_seconds=0.3,
)


class Row(NamedTuple):
    """One line of the report."""

    candidates: int
    ingest: bool
    concurrency: int
    rps: float
    p50_ms: float
    p99_ms: float
    floor_p50_ms: float
    floor_p99_ms: float
    requests: int
    errors: int
    client: str


def requests(plan: Plan, candidates: int, seed: int = 3) -> list[ScoreRequest]:
    """Questions by different users about different items."""
    random = np.random.default_rng(seed)
    return [
        ScoreRequest(
            user=f"user-{random.integers(plan.users)}",
            items=[f"item-{n}" for n in random.choice(plan.items, candidates, replace=False)],
        )
        for _ in range(REQUESTS)
    ]


class SteadyClicks:
    """Clicks at a steady rate from a process of its own,
    between `with` and its end; then `reached` per second.
    """

    def __init__(self, bootstrap: str, topic: str, plan: Plan) -> None:
        self.reached = 0.0
        self._command = [
            sys.executable,
            "-m",
            "bench.clicks",
            "--bootstrap",
            bootstrap,
            "--topic",
            topic,
        ]
        self._command += [
            "--rate",
            str(plan.clicks_per_s),
            "--users",
            str(plan.users),
            "--items",
            str(plan.items),
        ]

    def __enter__(self) -> SteadyClicks:
        self._process = subprocess.Popen(
            self._command, cwd=report.ROOT, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        printed, _nothing = self._process.communicate(timeout=60)
        self.reached = float(printed)


def fill(bootstrap: str, topic: str, plan: Plan) -> dict[int, tuple[str, int]]:
    """Give every user a history; for each partition,
    one of its users and the offset after its last click.
    """
    random = np.random.default_rng(1)
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    clicks = [click(random, plan.users, plan.items) for _ in range(plan.users * plan.clicks_a_user)]
    ends = produce(producer, topic, clicks)
    partitions = producer.partitions_for(topic)
    producer.close()
    assert partitions is not None
    one_user = {partition_of(c.user, len(partitions)): c.user for c in clicks}
    return {partition: (one_user[partition], end) for partition, end in ends.items()}


async def filled(address: str, ends: dict[int, tuple[str, int]], within_s: float = 300.0) -> None:
    """Return when every partition's clicks are in its users' states (reads
    its own writes by `min_offset`).
    """
    async with Client(address) as client:
        await client.connect()
        for user, end in ends.values():
            await client.score(user, ["item-0"], min_offset=end, timeout_s=within_s)


def measure(
    driver: Driver, address: str, plan: Plan, ingest: bool, progress: Progress
) -> list[Row]:
    """All rows with or without ingest."""
    combinations = list(itertools.product(plan.candidates, CONCURRENCIES))
    task = progress.add_task("", total=len(combinations))
    rows = []
    for candidates, concurrency in combinations:
        name = (
            f"{candidates:,} candidates, {concurrency} at a time, "
            f"{'with' if ingest else 'without'} ingest"
        )
        progress.update(task, description=name)
        questions = requests(plan, candidates)
        driver.run(address, questions, concurrency, WARM_UP_S)
        load = driver.run(address, questions, concurrency, plan.seconds)
        with echo.running(candidates) as floor_address:
            driver.run(floor_address, questions, concurrency, WARM_UP_S)
            floor = driver.run(floor_address, questions, concurrency, plan.floor_seconds)
        rows.append(
            Row(
                candidates=candidates,
                ingest=ingest,
                concurrency=concurrency,
                rps=round(load.rps, 1),
                p50_ms=round(load.p50_ms, 3),
                p99_ms=round(load.p99_ms, 3),
                floor_p50_ms=round(floor.p50_ms, 3),
                floor_p99_ms=round(floor.p99_ms, 3),
                requests=load.requests,
                errors=load.errors,
                client=driver.name,
            )
        )
        progress.advance(task)
    return rows


def markdown(rows: list[Row], found: dict[str, object], origin: dict[str, str]) -> str:
    """score.md."""
    heads = (
        "candidates",
        "ingest",
        "concurrency",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "echo p50 ms",
        "echo p99 ms",
    )
    lines = [
        (
            f"{row.candidates:,}",
            "yes" if row.ingest else "no",
            row.concurrency,
            f"{row.rps:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.floor_p50_ms:.2f}",
            f"{row.floor_p99_ms:.2f}",
        )
        for row in rows
    ]
    failed = sum(row.errors for row in rows)
    return (
        "# Scoring over gRPC\n\n"
        f"{report.table(heads, lines)}\n\n"
        f"Client: {found['client']}, closed loop, on the same machine as broker, shards and "
        "gateway. "
        f"{failed} of {sum(row.requests for row in rows):,} requests failed.\n"
        f"Ingest: {found['ingest_clicks_per_s']:,} clicks/s reached, {found['users']:,} users, "
        f"model {found['model']}, "
        f"broker {found['broker']}.\n"
        "Echo: a grpc.aio server that answers ready-made bytes of the same size, one hop.\n\n"
        f"{report.footer(origin)}\n"
    )


def settings(directory: Path, bundle: Path | None) -> Settings:
    """The shipped defaults on free ports, with states below `directory`."""
    serving = free_port()
    monitoring = free_port()
    return Settings(
        state=StateSettings(directory=str(directory)),
        archive=ArchiveSettings(directory=str(directory / "archive")),
        serving=ServingSettings(port=serving),
        monitoring=MonitoringSettings(port=monitoring),
        arms=(
            ArmSettings(name="main", bundle=str(bundle or "untrained"), weight=10_000, role="live"),
        ),
    )


def main(
    quick: Annotated[
        bool, typer.Option(help="Under a minute, to see that it works; writes below out/bench/.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle directory; without it, an untrained model.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="How long to drive each row; 0 leaves the default.")
    ] = 0.0,
    clicks_per_s: Annotated[
        float, typer.Option(help="Ingest while scoring; 0 leaves the default.")
    ] = 0.0,
    out: report.Out = None,
) -> None:
    """Measure latency and rate of Score on the running system, beside a bare gRPC echo.

    Starts everything on free ports and stops it again: broker (KAFKA_HOME, else embedded), Ray,
    shards, gateway. Uses ghz from PATH or $GHZ, else a Python client, and says
    which. Writes bench/results/score.md and raw/score.json (with --quick: out/bench/), and prints
    the table. About 5 minutes. Client, broker and servers share this machine's cores: read each row
    against its echo.
    """
    place = report.folder_for(quick, out)
    base = QUICK if quick else FULL
    plan = replace(
        base, seconds=seconds or base.seconds, clicks_per_s=clicks_per_s or base.clicks_per_s
    )
    driver = choose()
    console = Console()
    load = load_bundle if bundle else functools.partial(untrained.bundle, plan.items)
    with tempfile.TemporaryDirectory() as directory, Progress(console=console) as progress:
        chosen = settings(Path(directory), bundle)
        task = progress.add_task("starting broker, Ray and actors", total=None)
        with start_system(chosen, load=load) as system:
            system.wait_ready()
            progress.update(task, description=f"filling the states of {plan.users:,} users")
            asyncio.run(
                filled(
                    system.gateway_address,
                    fill(system.bootstrap_servers, chosen.topics.clicks, plan),
                )
            )
            progress.remove_task(task)
            rows = measure(driver, system.gateway_address, plan, False, progress)
            with SteadyClicks(system.bootstrap_servers, chosen.topics.clicks, plan) as ingest:
                rows += measure(driver, system.gateway_address, plan, True, progress)
            broker = system.broker_kind
    found: dict[str, object] = {
        "client": driver.name,
        "broker": broker,
        "users": plan.users,
        "model": str(bundle or "untrained"),
        "ingest_clicks_per_s": round(ingest.reached),
    }
    origin = report.provenance(quick)
    text = markdown(rows, found, origin)
    folder = report.write(
        "score", {"rows": [row._asdict() for row in rows], **found, **origin}, text, place
    )
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"written: {folder}/score.md and raw/score.json", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
