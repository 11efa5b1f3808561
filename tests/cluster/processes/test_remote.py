"""Calls to the coordinator that have to go on until they succeed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.backoff import Backoff
from actors.errors import NotOwner, ShardUnavailable, SnapshotError, UnknownShard
from cluster.processes import remote
from cluster.processes.remote import RemoteCoordinator, RemoteShards
from monitoring.discovery import Target
from tests.actors.click_log import ClickLog
from tests.cluster.processes.fake_ray import FakeRay
from tests.waiting import PATIENCE_S

LOG = ClickLog()
TARGET = Target(kind="shard", name="shard-0", address="127.0.0.1:9")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the coordinator answers, one call after the other; exceptions are raised."""
    monkeypatch.setattr(remote, "BACKOFF", Backoff(min_s=0, max_s=0))
    return []


def ray_that(answers: list[Any]) -> FakeRay:
    """Gives these."""

    async def answer(*_: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return FakeRay(answer)


async def test_a_shard_registers_as_soon_as_the_coordinator_can_save_it(
    answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A coordinator that restarts, and a full disk,
    hold it up and end nothing; each try is logged.
    """
    answers += [ShardUnavailable("restarting"), SnapshotError("the disk is full"), 7]
    assert await RemoteCoordinator(ray_that(answers)).register("shard-0", "h:1", TARGET, "n") == 7
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "restarting",
        "the disk is full",
    ]


async def test_a_final_answer_is_not_asked_again(answers: list[Any]) -> None:
    """UnknownShard: no shard of that name is part of the deployment, and none will be."""
    answers += [UnknownShard("no such shard")]
    with pytest.raises(NotOwner):
        await RemoteCoordinator(ray_that(answers)).register("shard-9", "h:1", TARGET, "n")


async def test_an_operator_hears_at_once_what_is_wrong(answers: list[Any]) -> None:
    """Asking for shards is not repeated: who asked is there to ask again."""
    answers += [SnapshotError("the disk is full")]
    with pytest.raises(SnapshotError, match="the disk is full"):
        await RemoteCoordinator(ray_that(answers)).scale(3)


@pytest.mark.parametrize("answer", [KeyError("planted"), [7], [7, 8, 9]])
async def test_no_lane_waits_for_ever(
    answers: list[Any], caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    """Whatever goes wrong with a message of batches, each lane hears that it has to try again."""
    answers += [answer]
    shards = RemoteShards(ray_that(answers))
    shards._owners = {0: "shard-0"}
    handed = [shards.deliver(batch, 1) for batch in (LOG.batch(0, 9), LOG.batch(9, 20))]
    failures = await asyncio.wait_for(asyncio.gather(*handed, return_exceptions=True), PATIENCE_S)
    assert [type(failure) for failure in failures] == [ShardUnavailable] * 2
    assert ("planted" in caplog.text) == isinstance(answer, KeyError)


async def test_an_owner_that_cannot_be_told_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody thought of is logged; the others are told, and the next ends are told to all."""
    told: list[tuple[str, dict[int, int]]] = []

    async def answer(owner: str, method: str, ends: dict[int, int]) -> None:
        assert method == "ShardProcess.observe_ends"
        told.append((owner, ends))
        if owner == "shard-0":
            raise RuntimeError("planted")

    monkeypatch.setattr(remote, "TELL_S", 0.0)
    shards = RemoteShards(FakeRay(answer))
    shards._owners = {0: "shard-0", 1: "shard-1"}
    for end in (10, 20):
        shards.observe_ends({0: end, 1: end})
        assert shards._telling is not None
        await shards._telling
    assert told == [
        ("shard-0", {0: 10}),
        ("shard-1", {1: 10}),
        ("shard-0", {0: 20}),
        ("shard-1", {1: 20}),
    ]
    assert "planted" in caplog.text
