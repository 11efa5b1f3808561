"""Run by `make up` as `python -m cluster.cli.first_model`:
a model for the first try, where there is none yet.

Trained on public clicks, so only for a system that brings its own broker and reads the topic of the
shipped settings: on anybody's own clicks it would know no item and answer all the same.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from actors.errors import ConfigError, EchoRankError
from cluster.cli.main import EXIT_CONFIG
from cluster.cli.options import ConfigOption, settings_from
from cluster.settings.config import Settings
from cluster.settings.stream import TopicSettings
from model.bundle.files import MANIFEST

BUNDLE = "out/bundle"  # of ray_config.yaml
MODEL = "out/first-model"  # its own, so that no training of anybody else is dropped
STEPS = (
    ("train", "ml-100k", "--minutes", "1", "--out", MODEL, "--anew"),
    ("publish", MODEL, "--out", BUNDLE),
)


def ensure(
    settings: Settings, command: Callable[[Sequence[str]], None], say: Callable[[str], None]
) -> None:
    """Train and publish to BUNDLE by `command`, if an arm names it and it is not there; say so.

    Raises:
        ConfigError: it is missing, and the clicks are somebody's own.
    """
    arms = [arm for arm in settings.arms if not (Path(arm.bundle) / MANIFEST).is_file()]
    if not arms:
        return
    own = None
    if settings.kafka.bootstrap_servers:
        own = f"clicks come from {settings.kafka.bootstrap_servers} (kafka.bootstrap_servers)"
    elif settings.topics.clicks != TopicSettings().clicks:
        own = f"clicks come from a topic of your own, {settings.topics.clicks!r} (topics.clicks)"
    if own or any(Path(arm.bundle) != Path(BUNDLE) for arm in arms):
        named = ", ".join(f"arm {arm.name} has no model at {arm.bundle}" for arm in arms)
        why = f", and {own}, of which a model of public clicks would know no item" if own else ""
        raise ConfigError(
            f"{named}{why}; train one on your clicks and publish it, such as: echorank train file "
            "--path clicks.parquet --field user=uid --out out/model && echorank publish out/model "
            f"--out {arms[0].bundle} (docs/training.md)"
        )
    say(
        f"{BUNDLE} holds no model and no Kafka is named (kafka.bootstrap_servers): training one "
        "on MovieLens-100k for a first try, about a minute. It knows these films and no item of "
        "yours."
    )
    for step in STEPS:
        command(step)


def main(config: ConfigOption = None) -> None:
    """Train a model on public clicks if this system is for a first try and has none."""

    def command(arguments: Sequence[str]) -> None:
        done = subprocess.run([sys.executable, "-m", "cluster.cli.main", *arguments], check=False)  # noqa: S603 (our own)
        if done.returncode:
            raise typer.Exit(done.returncode)

    try:
        ensure(settings_from(config), command, lambda text: typer.echo(f"[up] {text}"))
    except (EchoRankError, OSError) as error:
        typer.echo(f"echorank: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None


if __name__ == "__main__":
    typer.run(main)
