"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cluster.settings.config import Settings

DEFAULT_FILE = Path("ray_config.yaml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Deployment file; without it ./ray_config.yaml, else the defaults."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", "-a", help="host:port of the gateway; without it the one of the configuration."
    ),
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def settings_from(file: Path | None) -> Settings:
    """The settings in force: of `file`,
    else of ./ray_config.yaml if there is one, under the environment's.

    Raises:
        ConfigError: they cannot be used.
    """
    from cluster.settings.config import load  # noqa: PLC0415 (pydantic takes a while, and --help needs none of it)

    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    return load(file, os.environ)
