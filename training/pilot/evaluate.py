"""What `echorank evaluate` does: ask a bundle about clicks that it never
learned from, and say whether to pilot it.
"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from model.bundle import files as bundle_files
from model.bundle.load import load_bundle
from training import outputs
from training.commands import looked_at, read_log
from training.data.datasets import OWN_LOGS
from training.data.time_column import TimeUnit
from training.fit.allocation import prepare_process
from training.pilot import report_page, report_tables
from training.pilot.assessment import Assessment, assess_bundle, compare
from training.pilot.criteria import Criterion, criteria, verdict
from training.pilot.questions import hold_out
from training.pilot.results import read_accuracy, read_frontier
from training.rules.methods import ALL


def evaluate_bundle(
    bundle: Path,
    data_set: str,
    *,
    beside_bytes: int,
    path: Path | str | None = None,
    fields: dict[str, str] | None = None,
    time_unit: TimeUnit = "ms",
    report: Path | None = None,
    json_out: Path | None = None,
    against: Path | None = None,
    results: Path | None = None,
    count_max: int = 10_000,
    seed: int = 0,
    cache: Path | None = None,
    console: Console | None = None,
) -> tuple[Assessment, list[Criterion]]:
    """Measure, print tables or write the page, and return what was found.

    `beside_bytes` is what a store keeps of a user beside the state, at most. `results` is a folder
    of studies (`training/pilot/results.py`), which the page then shows beside the bundle.

    Raises:
        BundleError: a bundle is missing or damaged.
        DatasetError: the data cannot be had, or are not of the bundle's system.
        TrainingError: the report cannot be written.
    """
    console = console or Console()
    outputs.check_files({"--report": report, "--json": json_out})
    prepare_process()
    own = load_bundle(bundle)
    other = None if against is None else load_bundle(against)
    content = bundle_files.read(bundle)
    log = read_log(
        data_set, path=path, cache=cache, fields=fields, time_unit=time_unit, console=console
    )
    looked_at(log, console)
    held = hold_out(log, own, content.metadata, by_time=data_set in OWN_LOGS)
    if (known_as := content.metadata.get("data_set")) not in {data_set, None}:
        console.print(f"note: the bundle was trained on {known_as!r}, not on {data_set!r}")
    planned = min(count_max, int(held.held.tails.sum()))
    with Progress(
        console=Console(stderr=True), disable=not console.is_terminal, transient=True
    ) as progress:
        asked_of = 2 + len(ALL) + (other is not None)
        task = progress.add_task("asking", total=planned * asked_of)

        def begin(name: str) -> None:
            progress.update(task, description=f"asking {name}")

        def step() -> None:
            progress.advance(task)

        found, asked, served = assess_bundle(
            content,
            held,
            data_set=data_set,
            count_max=count_max,
            beside_bytes=beside_bytes,
            seed=seed,
            begin=begin,
            step=step,
        )
        if other is not None:
            found = dataclasses.replace(
                found, against=compare(asked, served, held.log, own, other, seed=seed, step=step)
            )
    tested = criteria(found)
    _hand_over(found, tested, results, report, json_out, console)
    return found, tested


def _hand_over(
    found: Assessment,
    tested: list[Criterion],
    results: Path | None,
    report: Path | None,
    json_out: Path | None,
    console: Console,
) -> None:
    """Write what was asked for; without a report, print the tables."""
    if report is None:
        for table in report_tables.tables(found, tested):
            console.print(table)
    else:
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        models = read_accuracy(results, found.data_set) if results else []
        frontier = read_frontier(results) if results else None
        report_page.write(report, report_page.page(found, tested, frontier, models, date))
    if json_out is not None:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        json_out.write_text(report_tables.as_json(found, tested))
    console.print(verdict(found, tested))
    for written in (report, json_out):
        if written is not None:
            console.print(f"written: {written}")
