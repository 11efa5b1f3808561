"""Accuracy studies, run by hand; each adds its rows to bench/results/accuracy.json."""

from __future__ import annotations

import typer

from bench.accuracy.ctr import ctr

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def accuracy() -> None:
    """Accuracy studies, run by hand; each adds its rows to bench/results/accuracy.json."""


app.command()(ctr)

if __name__ == "__main__":
    app()
