"""`echorank up` and `echorank demo`: the whole system, until somebody stops it or the stream ends."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.options import ConfigOption, reachable, settings_from

if TYPE_CHECKING:
    from cluster.system import System


def up(config: ConfigOption = None) -> None:
    """Start the system and leave it running until Ctrl-C or SIGTERM; then drain, snapshot and stop.

    Without kafka.bootstrap_servers it brings its own broker, whose clicks end with it.

    Examples:
      [cyan]echorank up[/cyan]
      [cyan]echorank up --config production.yaml[/cyan]
      [cyan]ECHORANK__KAFKA__BOOTSTRAP_SERVERS=kafka:9092 echorank up[/cyan]
    """
    from cluster import wiring  # noqa: PLC0415
    from monitoring import logs  # noqa: PLC0415

    settings = settings_from(config)
    logs.set_up(level=settings.monitoring.log_level, as_json=settings.monitoring.log_json, actor="echorank")
    _end_like_ctrl_c()
    try:
        typer.echo("Starting broker, Ray and actors ...")
        system = wiring.start(settings)
        try:
            system.wait_ready()
            _print_addresses(system)
            _watch(system)
        finally:
            typer.echo("Stopping: no new requests, last events, last snapshots ...")
            system.stop()
            typer.echo("Stopped.")
    except KeyboardInterrupt:
        return


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the bundle, the states and summary.json.")] = Path(
        "out/demo"
    ),
    speed: Annotated[
        float, typer.Option(help="Clicks a second to stream; 0 is as fast as scoring before each click allows.", min=0)
    ] = 0.0,
    minutes: Annotated[float, typer.Option(help="Minutes of training at most.", min=0.05)] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of training and sampling.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Train on real clicks (MovieLens-100k), stream the rest, score before each click, kill a shard, and report.

    Takes under 5 minutes on 2 cores; the numbers end up in OUT/summary.json.

    Examples:
      [cyan]echorank demo[/cyan]
      [cyan]echorank demo --speed 50 --out /tmp/demo[/cyan]
    """
    from cluster import demo as demonstration  # noqa: PLC0415

    _end_like_ctrl_c()
    demonstration.run(settings_from(config), out=out, clicks_per_s=speed, minutes=minutes, seed=seed)


def _end_like_ctrl_c() -> None:
    """SIGTERM, as Kubernetes and systemd send it, from now on stops the system in order, also while it starts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _watch(system: System) -> None:
    """Until Ctrl-C, say what somebody should look at."""
    from cluster.notices import Watch  # noqa: PLC0415
    from cluster.scrape import scrape  # noqa: PLC0415

    def say(text: str) -> None:
        typer.secho(f"Warning: {text}", fg="yellow", err=True)

    host, _, port = system.monitoring_address.rpartition(":")
    address = reachable(host, int(port))
    Watch(lambda: scrape(address), say).until(threading.Event())


def _print_addresses(system: System) -> None:
    """What is where, and what to do next."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    address = system.gateway_address
    table.add_row("scores (gRPC)", address, f"echorank score USER ITEM --address {address}")
    table.add_row("metrics", f"http://{system.monitoring_address}/metrics", "also /sd for Prometheus, and /healthz")
    table.add_row("broker", system.bootstrap_servers, system.broker_kind)
    Console().print("[bold green]EchoRank is up.[/bold green] Ctrl-C stops it.", table, sep="\n")
