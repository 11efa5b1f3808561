"""`echorank replay --verify` beside a running system: every replica is compared."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.archive.reader import ArchiveReader
from actors.clicks.click import ClickBatch
from tests.actors.archived_clicks import archive
from tests.cluster.cli.replayed_partition import archived, live, run, saved
from tests.cluster.cli.replicas_of_a_partition import Shards, running

pytestmark = pytest.mark.usefixtures("replayable")


def test_verify_compares_with_the_running_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is taken now, and each replica's digest is met at its own
    offset, though clicks go on coming.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(70)
    shards.fold(80, "shard-0")
    shards.on_snapshot = lambda: shards.fold(100)
    with running(shards, monkeypatch):
        result = run("--verify", "--token", "open-sesame")
    assert result.exit_code == 0, result.output
    for source, offset in (
        ("the live STANDBY shard-1", 70),
        ("the live OWNER shard-0", 80),
        ("the snapshot", 100),
    ):
        assert (
            f"equal to {source} at offset {offset}, digest {live(tmp_path, offset).digest()}"
            in result.stdout
        )
    assert "99 clicks in" in result.stdout
    assert "nothing listens" not in result.stdout


def test_verify_finds_what_is_wrong_in_the_running_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click folded twice at the owner, in place of another:
    digest and snapshot differ, rows say whose, exit 1.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(60)
    [twice] = list(ArchiveReader(archive(tmp_path / "archive")).read(0, 59, 60))
    assert isinstance(twice, ClickBatch)
    owner = shards.shards["shard-0"]
    owner.apply(replace(twice, start=60, stop=61, offsets=np.array([60])), epoch=1)
    shards.fold(100)
    expected = live(tmp_path, 100).digest()
    wrong = owner.digest(0, "main")
    with running(shards, monkeypatch):
        result = run("--verify", "--token", "open-sesame")
    assert result.exit_code == 1
    assert (
        f"differs from the live OWNER shard-0, digest {wrong}, replayed {expected}" in result.stdout
    )
    assert f"equal to the live STANDBY shard-1 at offset 100, digest {expected}" in result.stdout
    assert f"differs from the snapshot, digest {wrong}" in result.stdout
    assert "2 users differ, of 7 in the snapshot and 7 in the replay" in result.stdout
    assert re.search(rf"{int(twice.users[0]):016x} .*events, ring_items, .*slots", result.stdout)


def test_verify_finds_what_is_wrong_in_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that went wrong saves nothing: its digest differs,
    the snapshot is right, and what to do is said.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(60)
    [other] = list(ArchiveReader(archive(tmp_path / "archive")).read(0, 59, 60))
    assert isinstance(other, ClickBatch)
    shards.shards["shard-1"].apply(
        replace(other, start=60, stop=61, offsets=np.array([60])), epoch=2
    )
    shards.fold(100)
    with running(shards, monkeypatch):
        result = run("--verify", "--token", "open-sesame")
    assert result.exit_code == 1
    assert "differs from the live STANDBY shard-1" in result.stdout
    assert "equal to the snapshot at offset 100" in result.stdout
    assert "Restart that shard, which then restores the snapshot" in result.stdout


def test_verify_without_a_system_says_so(tmp_path: Path) -> None:
    """The newest snapshot serves then, and nobody takes the result for the live states'."""
    archived(tmp_path)
    saved(tmp_path, live(tmp_path, 70))
    result = run("--verify")
    assert re.search(
        r"nothing listens at 127.0.0.1:\d+, so there are no live states", result.stdout
    )
    assert "as --to is given" in run("--verify", "--to", "80").stdout


def test_a_system_that_refuses_or_is_another_one_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token, or another deployment's snapshots, are errors:
    no older snapshot is compared instead.
    """
    archived(tmp_path)
    shards = Shards(tmp_path)
    shards.fold(90)
    saved(tmp_path / "other", live(tmp_path, 50))
    with running(shards, monkeypatch):
        assert "answered UNAUTHENTICATED" in run("--verify", "--token", "guess").stderr
        monkeypatch.setenv("ECHORANK__STATE__DIRECTORY", str(tmp_path / "other" / "state"))
        message = run("--verify", "--token", "open-sesame").stderr
    assert "has saved everything below offset 90, but the newest usable snapshot" in message
