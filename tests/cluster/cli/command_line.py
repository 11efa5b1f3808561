"""The command line, called as a user calls it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from cluster.cli.main import app

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> Result:
    """What a command prints, and its exit code."""
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, arguments)
