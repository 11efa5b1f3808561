"""`echorank up` and `echorank demo`: the whole system,
until somebody stops it or the stream ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.options import ConfigOption, settings_from
from cluster.lifecycle import interrupts, service_manager

if TYPE_CHECKING:
    from cluster.lifecycle.system import System

TOPIC_S = 5.0  # how often ingests are asked what they find in the topic
ALIVE_S = 5.0  # how often it is looked whether an actor has died for good


def up(config: ConfigOption = None) -> None:
    """Start the system and leave it running until Ctrl-C or SIGTERM; then drain, snapshot and stop.

    Until it has caught up with its topic it answers, too, and says how far it is; answers say stale
    meanwhile. Without kafka.bootstrap_servers it brings its own broker, whose clicks end with it.

    Examples:
      [cyan]echorank up[/cyan]
      [cyan]echorank up --config production.yaml[/cyan]
      [cyan]ECHORANK__KAFKA__BOOTSTRAP_SERVERS=kafka:9092 echorank up[/cyan]
    """
    interrupts.end_like_ctrl_c()  # first of all: what is imported below takes seconds
    try:
        _run(config)
    except KeyboardInterrupt:
        return


def _run(config: Path | None) -> None:
    from cluster.wiring.start import start_system  # noqa: PLC0415
    from monitoring import logs  # noqa: PLC0415

    settings = settings_from(config)
    logs.set_up(
        level=settings.monitoring.log_level, as_json=settings.monitoring.log_json, actor="echorank"
    )
    _progress("Starting broker, Ray and actors ...")
    system = start_system(settings)
    try:
        with _watched(system):
            system.wait_ready(timeout_s=None, say=_progress)
            service_manager.ready()
            _print_addresses(system)
            while True:
                time.sleep(ALIVE_S)
                system.check_alive()
    finally:
        service_manager.stopping()
        typer.echo("Stopping: no new requests, last events, last snapshots ...")
        system.stop()
        typer.echo("Stopped.")


def _progress(line: str) -> None:
    typer.echo(line)
    service_manager.starting(line)


def demo(
    out: Annotated[
        Path, typer.Option(help="Directory for the bundle, the states and summary.json.")
    ] = Path("out/demo"),
    speed: Annotated[
        float,
        typer.Option(
            help="Clicks a second to stream; 0 is as fast as asking before them allows.",
            min=0,
        ),
    ] = 0.0,
    minutes: Annotated[float, typer.Option(help="Minutes of training at most.", min=0.05)] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of training and sampling.")] = 0,
    full: Annotated[
        bool,
        typer.Option("--full", help="Ask before every click, not before one in ten of each user."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Train on real clicks (MovieLens-100k), stream the rest,
    ask before some clicks of each user, kill a shard, and report.

    Takes under 150 seconds on 2 cores, with --full about 6 minutes; the numbers end up in
    OUT/summary.json.

    Examples:
      [cyan]echorank demo[/cyan]
      [cyan]echorank demo --speed 50 --out /tmp/demo[/cyan]
    """
    from cluster.demo import demo as demonstration  # noqa: PLC0415

    interrupts.end_like_ctrl_c()
    demonstration.run(
        settings_from(config), out=out, clicks_per_s=speed, minutes=minutes, seed=seed, full=full
    )


@contextmanager
def _watched(system: System) -> Iterator[None]:
    """While the block runs, say what somebody should look at, from a thread of its own."""
    from cluster.operate.notices import Watch  # noqa: PLC0415
    from cluster.scrape import scrape  # noqa: PLC0415

    def say(text: str) -> None:
        typer.secho(f"Warning: {text}", fg="yellow", err=True)

    stop = threading.Event()
    watch = Watch(lambda: scrape(system.scraped_at), say)
    # What ingests show is little, and what they find in the topic should be said within seconds,
    # whenever it comes.
    topic = Watch(lambda: scrape(system.scraped_at, "ingest"), say, watch.said, late_s=TOPIC_S)
    for one in (watch, topic):
        threading.Thread(target=one.until, args=(stop,), name="notices", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _print_addresses(system: System) -> None:
    """What is where, and what to do next."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    address = system.gateway_address
    table.add_row("scores (gRPC)", address, f"echorank score USER ITEM --address {address}")
    table.add_row(
        "metrics",
        f"http://{system.monitoring_address}/metrics",
        "also /sd for Prometheus, and /healthz",
    )
    table.add_row("broker", system.bootstrap_servers, system.broker_kind)
    Console().print("[bold green]EchoRank is up.[/bold green] Ctrl-C stops it.", table, sep="\n")
