"""What `make up` does before it starts: a public model for a first try,
and never for somebody's own clicks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.errors import ConfigError
from cluster.cli.first_model import BUNDLE, ensure
from cluster.settings.config import Settings


def started(settings: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The commands that were run, and what was said."""
    commands: list[str] = []
    said: list[str] = []

    def command(arguments: Sequence[str]) -> None:
        commands.append(" ".join(arguments))

    ensure(Settings.model_validate(settings), command, said.append)
    return commands, said


def arms(*bundles: str) -> dict[str, Any]:
    """One arm a bundle, the first one live."""
    weights = [10_000, *[0] * (len(bundles) - 1)]
    return {
        "arms": [
            {
                "name": f"a{n}",
                "bundle": bundle,
                "weight": weights[n],
                "role": "candidate" if n else "live",
            }
            for n, bundle in enumerate(bundles)
        ]
    }


def test_a_first_try_gets_a_public_model_and_is_told_so() -> None:
    """With its own broker and the shipped topic: trained, published, and named as what it is."""
    commands, said = started(arms(BUNDLE))
    assert [command.split()[0] for command in commands] == ["train", "publish"]
    assert BUNDLE in commands[1]
    assert "no item of yours" in said[0]


def test_a_model_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Nothing is trained, whoever's clicks come."""
    (tmp_path / BUNDLE).mkdir(parents=True)
    (tmp_path / BUNDLE / "manifest.json").write_text("{}")
    assert started(arms(BUNDLE) | {"kafka": {"bootstrap_servers": "kafka:9092"}}) == ([], [])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kafka": {"bootstrap_servers": "kafka:9092"}}, "clicks come from kafka:9092"),
        ({"topics": {"clicks": "page-events"}}, "'page-events'"),
        (arms("models/mine"), "arm a0 has no model at models/mine"),
        (arms(BUNDLE, "models/mine"), "arm a1 has no model at models/mine"),
    ],
)
def test_own_clicks_and_own_models_are_not_served_by_a_public_one(
    settings: dict[str, Any], says: str
) -> None:
    """Nothing is trained; the message says what is missing, why,
    and how to train on one's clicks.
    """
    with pytest.raises(ConfigError, match="train one on your clicks") as raised:
        started(arms(BUNDLE) | settings)
    assert says in str(raised.value)


def test_a_broker_of_the_environment_counts_too(tmp_path: Path) -> None:
    """As `make up` runs it: exit code 2, one line, and nothing was made."""
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli.first_model"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "ECHORANK__KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "echorank: arm main has no model at out/bundle, and clicks come from kafka:9092"
    )
    assert not (tmp_path / "out").exists()
