"""`python -m tests.simulation --seeds 100000`: many runs;
`--seed 4711 --trace`: one of them, step by step.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tests.simulation.faults import Scenario
from tests.simulation.runner import WORKERS, arms, explain, only, run, sweep

EXPLAINED_MAX = 3


def main(
    seeds: Annotated[int, typer.Option(help="How many seeds to run.")] = 1000,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes to run them on.")] = WORKERS,
    seed: Annotated[int | None, typer.Option(help="Run this seed alone.")] = None,
    keep: Annotated[
        str, typer.Option(help="With --seed: only these of its faults, by number; 'none' for none.")
    ] = "",
    trace: Annotated[bool, typer.Option(help="With --seed: print every step.")] = False,
) -> None:
    """Run the whole system under virtual time,
    each seed with its own faults, and compare with clean runs.
    """
    sys.exit(
        _one(seed, keep, trace) if seed is not None else _many(range(first, first + seeds), workers)
    )


def _one(seed: int, keep: str, trace: bool) -> int:
    scenario = Scenario.of(seed)
    for number, fault in enumerate(scenario.faults):
        typer.echo(f"  #{number:<2} {fault}")
    if keep:
        scenario = only(
            scenario, [] if keep == "none" else [int(number) for number in keep.split(",")]
        )
    outcome = run(scenario, arms(), typer.echo if trace else None)
    typer.echo(
        outcome.violation
        or f"all is well: {outcome.steps} steps, {outcome.reads} reads, trace {outcome.trace}"
    )
    return outcome.violation is not None


def _many(seeds: range, workers: int) -> int:
    console = Console()
    started = time.monotonic()
    failed = []
    steps = reads = 0
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("seeds", total=len(seeds))
        for outcome in sweep(seeds, workers):
            steps = steps + outcome.steps
            reads = reads + outcome.reads
            if outcome.violation:
                failed.append(outcome)
                console.print(
                    f"seed {outcome.scenario.seed}: {outcome.violation}",
                    markup=False,
                    highlight=False,
                )
            progress.update(bar, advance=1, description=f"seeds, {len(failed)} failed")
    for outcome in itertools.islice(
        sorted(failed, key=lambda each: each.scenario.seed), EXPLAINED_MAX
    ):
        typer.echo(explain(outcome))
    seconds = time.monotonic() - started
    rate = len(seeds) / seconds
    typer.echo(
        f"{len(seeds)} seeds, {len(failed)} failed; {steps} steps, {reads} reads; {seconds:.0f} "
        f"s, {rate:.1f} seeds/s"
    )
    return bool(failed)


if __name__ == "__main__":
    typer.run(main)
