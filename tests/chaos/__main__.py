"""`python -m tests.chaos --kills 50`: random faults on a real deployment,
and whether a click was lost or doubled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import report
from tests.chaos.faults import FAULTS, possible
from tests.chaos.session import Plan, Session
from tests.chaos.stage import Deployment, Stage
from tests.chaos.summary import sound, summary, table, write

WIDTH = 170  # of what no terminal shows
OUT = Path(__file__).parents[2] / "out" / "chaos"


def main(
    kills: Annotated[
        int, typer.Option(min=1, help="How many faults; each kind as often as any other.")
    ] = 50,
    seed: Annotated[int, typer.Option(help="Which faults, in which order, on whom.")] = 1,
    only: Annotated[
        str, typer.Option(help=f"Faults to choose from, with commas: {', '.join(FAULTS)}.")
    ] = "",
    lasts_s: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds that a process is stopped; a disk is full or slow for a third."
        ),
    ] = 30.0,
    rate: Annotated[float, typer.Option(min=1, help="Clicks a second.")] = 300.0,
    standbys: Annotated[
        bool,
        typer.Option(
            "--standbys",
            help="A warm standby of each partition; the table shows when it took over.",
        ),
    ] = False,
    memory_rows: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="Users of a partition that fit in memory; four times as many take part, so most "
            "wait on disk. Without it, all are in memory.",
        ),
    ] = None,
    brokers: Annotated[
        int,
        typer.Option(
            min=1,
            max=5,
            help="Brokers, each with every partition; with 3, leaders die instead of all.",
        ),
    ] = 1,
    out: Annotated[Path, typer.Option(help="Where summary.json and ray.log go.")] = OUT,
    keep: Annotated[
        str,
        typer.Option(
            help="Keep the figures as bench/results/raw/KEEP.json, too, as chaos or failover; of a "
            "tree without uncommitted changes."
        ),
    ] = "",
) -> None:
    """Strike a real deployment under load, let it recover, and count every click.

    Apache Kafka (KAFKA_HOME), Ray nodes and actors are real processes here. Each fault comes while
    clicks are produced and questions asked; then everything has to work again, and every
    acknowledged click must be in the state exactly once, byte for byte as in a clean fold of the
    log. Ends with 1 if one was lost or doubled, a byte differs, or something stayed down, and stops
    at the first such fault; summary.json has all figures, ray.log what processes said.

    About 25 minutes for 50 faults on two cores. Try first: --kills 3 --only "kill shard,scale"
    --lasts-s 5
    """
    if brokers == 2:
        raise typer.BadParameter(
            "two brokers cannot spare one: ask for 1, or 3 or more", param_hint="--brokers"
        )
    for place in (out, *([report.RAW] if keep else [])):
        report.refuse_changes(place)
    names = _chosen(only, brokers)
    out.mkdir(parents=True, exist_ok=True)
    deployment = Deployment(standbys=int(standbys), brokers=brokers, memory_rows=memory_rows)
    with _only_ours(out / "ray.log") as console, Stage(deployment) as stage:
        if stage.small_disk.refused:
            console.print(
                f"[yellow]left out: faults with a full disk, {stage.small_disk.refused}[/yellow]"
            )
            names = [name for name in names if "disk full" not in name]
        plan = Plan.random(kills, seed, names, lasts_s=lasts_s, clicks_per_s=rate)
        found = summary(Session(stage, plan, console.print).run(), plan, deployment)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    written = write(found, out, keep)
    console.print(table(found))
    for failure in found["failures"]:
        console.print(f"[bold red]{failure}[/bold red]")
    console.print(f"written to {', '.join(map(str, written))}")
    if not sound(found):
        sys.exit(1)


def _chosen(only: str, brokers: int) -> list[str]:
    """The names in `only`, or every fault that so many brokers can suffer."""
    can = possible(brokers)
    names = [name.strip() for name in only.split(",") if name.strip()] or can
    if unknown := sorted(set(names) - FAULTS.keys()):
        raise typer.BadParameter(
            f"no fault is called {unknown}; there are {', '.join(FAULTS)}", param_hint="--only"
        )
    if impossible := sorted(set(names) - set(can)):
        text = (
            f"{impossible} cannot be with --brokers {brokers}: one broker has no successor, "
            "several no common death"
        )
        raise typer.BadParameter(f"{text}; choose from {', '.join(can)}", param_hint="--only")
    return names


@contextmanager
def _only_ours(others: Path) -> Iterator[Console]:
    """A console for us alone: Ray and gRPC say at length that processes die,
    which is what they are here for.
    """
    with ExitStack() as undo:
        kept = [undo.enter_context(os.fdopen(os.dup(number), "w")) for number in (1, 2)]
        with others.open("w") as said:
            for number, stream in enumerate(kept, start=1):
                os.dup2(said.fileno(), number)
                undo.callback(os.dup2, stream.fileno(), number)
        yield Console(file=kept[0], width=None if kept[0].isatty() else WIDTH)


if __name__ == "__main__":
    typer.run(main)
