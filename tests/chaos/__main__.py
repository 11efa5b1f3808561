"""`python -m tests.chaos --kills 50`: random faults on a real deployment, and whether a click was lost or doubled."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.chaos.faults import FAULTS
from tests.chaos.session import Plan, Session
from tests.chaos.stage import Deployment, Stage
from tests.chaos.summary import sound, summary, table

OUT = Path(__file__).parents[2] / "out" / "chaos"


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many faults.")] = 50,
    seed: Annotated[int, typer.Option(help="Which faults, in which order, on whom.")] = 1,
    only: Annotated[str, typer.Option(help=f"Faults to choose from, with commas: {', '.join(FAULTS)}.")] = "",
    lasts_s: Annotated[float, typer.Option(help="Seconds that a process is stopped, a disk full or slow.")] = 30.0,
    rate: Annotated[float, typer.Option(help="Clicks a second.")] = 300.0,
    out: Annotated[Path, typer.Option(help="Where summary.json goes.")] = OUT,
) -> None:
    """Strike, recover, reckon; exit with 1 if a click was lost or doubled, a byte differs, or something stayed down."""
    names = tuple(name.strip() for name in only.split(",") if name.strip()) or tuple(FAULTS)
    if unknown := sorted(set(names) - FAULTS.keys()):
        raise typer.BadParameter(f"no fault is called {unknown}; there are {', '.join(FAULTS)}")
    out.mkdir(parents=True, exist_ok=True)
    with _only_ours(out / "ray.log") as console, Stage(Deployment()) as stage:
        if stage.small_disk.refused:
            console.print(f"[yellow]left out: faults with a full disk, {stage.small_disk.refused}[/yellow]")
            names = tuple(name for name in names if "disk full" not in name)
        plan = Plan.random(kills, seed, names, lasts_s=lasts_s, clicks_per_s=rate)
        found = summary(Session(stage, plan, console.print).run(), plan)
    console = Console()
    (out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    console.print(table(found))
    for failure in found["failures"]:
        console.print(f"[bold red]{failure}[/bold red]")
    console.print(f"written to {out / 'summary.json'}")
    if not sound(found):
        sys.exit(1)


@contextmanager
def _only_ours(others: Path) -> Iterator[Console]:
    """A console for us alone: Ray and gRPC say at length that processes die, which is what they are here for."""
    with ExitStack() as undo:
        kept = [undo.enter_context(os.fdopen(os.dup(number), "w")) for number in (1, 2)]
        with others.open("w") as said:
            for number, stream in enumerate(kept, start=1):
                os.dup2(said.fileno(), number)
                undo.callback(os.dup2, stream.fileno(), number)
        yield Console(file=kept[0])


if __name__ == "__main__":
    typer.run(main)
