"""Calls to the coordinator that have to go on until they succeed."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import NotOwner, ShardUnavailable, SnapshotError
from cluster import remote
from cluster.remote import RemoteCoordinator
from monitoring.discovery import Target

TARGET = Target(kind="shard", name="shard-0", address="127.0.0.1:9")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the coordinator answers, one call after the other; exceptions are raised."""
    prepared: list[Any] = []

    async def answer(*_: Any, **__: Any) -> Any:
        found = prepared.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(remote, "call", answer)
    monkeypatch.setattr(remote, "RETRY_S", 0.0)
    return prepared


async def test_a_shard_registers_as_soon_as_the_coordinator_can_save_it(
    answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A coordinator that restarts, and a full disk, hold it up and end nothing; each try is logged."""
    answers += [ShardUnavailable("restarting"), SnapshotError("the disk is full"), 7]
    assert await RemoteCoordinator("n").register("shard-0", "h:1", TARGET, "n") == 7
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["restarting", "the disk is full"]


async def test_a_final_answer_is_not_asked_again(answers: list[Any]) -> None:
    """NotOwner: no shard of that name is part of the deployment."""
    answers += [NotOwner("no such shard")]
    with pytest.raises(NotOwner):
        await RemoteCoordinator("n").register("shard-9", "h:1", TARGET, "n")


async def test_an_operator_hears_at_once_what_is_wrong(answers: list[Any]) -> None:
    """Asking for shards is not repeated: who asked is there to ask again."""
    answers += [SnapshotError("the disk is full")]
    with pytest.raises(SnapshotError, match="the disk is full"):
        await RemoteCoordinator("n").scale(3)
