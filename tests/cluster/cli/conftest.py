"""What every test of a command has: an empty directory, and no settings from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.broker.free_port import free_port
from tests.actors.click_log import bundle


@pytest.fixture(autouse=True)
def _a_directory_without_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ECHORANK__")]:
        monkeypatch.delenv(name)


@pytest.fixture
def replayable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archive and states in tmp_path, one arm, whose bundle needs no training; no system runs."""
    for section in ("state", "archive"):
        monkeypatch.setenv(f"ECHORANK__{section.upper()}__DIRECTORY", str(tmp_path / section))
    monkeypatch.setenv("ECHORANK__SERVING__PORT", str(free_port()))
    monkeypatch.setattr("cluster.operate.replay.run.load_bundle", lambda _: bundle())
