"""Accuracy studies, run by hand: `python -m bench.accuracy COMMAND`;
each writes what it finds to bench/results/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.accuracy import next_item, page, rows
from bench.accuracy.ablations import ablations
from bench.accuracy.catalogues import catalogues
from bench.accuracy.ctr.study import ctr
from bench.accuracy.heads.study import heads
from bench.accuracy.noise import noise
from bench.accuracy.rare_signals import rare_signals
from bench.accuracy.recipes import MODELS
from bench.accuracy.states.compression import compression
from bench.accuracy.states.drift import drift
from bench.accuracy.states.memories import compare_memories
from bench.accuracy.states.short import short
from training.data import datasets
from training.errors import DatasetError, TrainingError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Table = Annotated[Path, typer.Option(help="the file of rows")]


@app.command("next-item")
def run_next_item(
    data: Annotated[str, typer.Option(help=", ".join(datasets.DATASETS))],
    model: Annotated[str, typer.Option(help=", ".join(MODELS))],
    path: Annotated[
        Path | None, typer.Option(help="of a data set that PyPI does not carry")
    ] = None,
    membership: Annotated[
        bool, typer.Option("--membership", help="give a reference the membership bias")
    ] = False,
    seed: int = 0,
    minutes: Annotated[
        float | None, typer.Option(help="budget; the schedule shrinks to fit")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, over the recipe; repeatable")
    ] = None,
    table: Table = rows.PATH,
    out: Annotated[
        Path | None, typer.Option(help="directory for the trained streaming model")
    ] = None,
    teachers: Annotated[
        list[Path] | None, typer.Option("--teacher", help="a directory of --out; repeatable")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="time: split the time line, not as the data set is published")
    ] = None,
) -> None:
    """Train a model, ask about the test's events, add the rows."""
    try:
        added = next_item.measure(
            data,
            model,
            path=path,
            membership=membership,
            seed=seed,
            minutes=minutes,
            changes=changes or (),
            table=table,
            out=out,
            teachers=teachers or (),
            protocol=protocol,
        )
    except (ValueError, DatasetError, TrainingError) as error:
        raise typer.BadParameter(str(error)) from error
    for row in added:
        shown = "  ".join(f"{name} {row[name]:.4f}" for name in rows.FIGURES[row["task"]])
        typer.echo(f"{row['task']} {row.get('candidates', '')} {rows.label(row)}: {shown}")


@app.command("page")
def write_page(table: Table = rows.PATH) -> None:
    """Write accuracy.md from the file of rows: beside it, or above raw/."""
    typer.echo(page.write(table))


app.command("memories")(compare_memories)
for study in (ctr, ablations, catalogues, compression, drift, heads, noise, rare_signals, short):
    app.command()(study)
if __name__ == "__main__":
    app()
