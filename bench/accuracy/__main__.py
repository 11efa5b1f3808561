"""Studies of accuracy, run by hand: `python -m bench.accuracy STUDY`."""

from __future__ import annotations

import typer

from bench.accuracy.compression import compression
from bench.accuracy.drift import drift
from bench.accuracy.noise import noise
from bench.accuracy.rare_signals import rare_signals

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command()(compression)
app.command()(drift)
app.command()(noise)
app.command()(rare_signals)


@app.callback()
def main() -> None:
    """Studies that take minutes to hours; each writes what it finds to bench/results/."""


if __name__ == "__main__":
    app()
