"""What the coordinator's process does once more, and what ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.errors import InvalidRequest, ShardUnavailable, SnapshotError
from cluster.processes import coordinator_process
from cluster.processes.coordinator_process import CoordinatorProcess
from tests.waiting import until


class WantsOneShard:
    """A coordinator that asks for shard 0 until it is spawned."""

    def __init__(self) -> None:
        self.wanted = {0: "node"}

    def tick(self) -> None:
        pass

    def to_spawn(self) -> dict[int, str]:
        return dict(self.wanted)

    def to_stop(self) -> list[int]:
        return []

    def spawned(self, number: int) -> None:
        del self.wanted[number]

    def spread(self, nodes: frozenset[str]) -> None:
        pass


class Actors:
    """Actors that start once these failures have passed."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    async def spawn(self, number: int, node: str) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def stop(self, number: int) -> None:
        pass

    async def nodes(self) -> frozenset[str]:
        return frozenset()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_process, "TICK_S", 0.0)


async def test_a_step_that_may_succeed_later_is_done_once_more(caplog: Any) -> None:
    """A shard that cannot be started just now, and a full disk."""
    coordinator = WantsOneShard()
    actors = Actors(ShardUnavailable("no room"), SnapshotError("the disk is full"))
    running = asyncio.create_task(CoordinatorProcess(coordinator, actors).run())  # type: ignore[arg-type]
    await until(lambda: not coordinator.wanted)
    running.cancel()
    assert [record.getMessage() for record in caplog.records] == [
        "shard 0 is started once more: no room",
        "shard 0 is started once more: the disk is full",
    ]


async def test_what_does_not_pass_ends_the_process() -> None:
    """An error whose class says that no further try helps."""
    process = CoordinatorProcess(WantsOneShard(), Actors(InvalidRequest("node", "no node")))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="no node"):
        await process.run()
