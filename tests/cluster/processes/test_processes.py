"""How the Ray actors' processes end, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors.errors import OtherRun, Superseded
from cluster.processes import processes
from cluster.processes.processes import CoordinatorActor


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Why the process ended; it is one that Ray started again."""
    reasons: list[BaseException] = []
    context = SimpleNamespace(was_current_actor_reconstructed=True)
    monkeypatch.setattr(processes, "_end", reasons.append)
    monkeypatch.setattr(processes, "ray", SimpleNamespace(get_runtime_context=lambda: context))
    return reasons


async def construct(build: Callable[[], Awaitable[Any]]) -> None:
    """As Ray does, and let the actor run."""
    await CoordinatorActor.__init__(CoordinatorActor.__new__(CoordinatorActor), build)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_superseded_coordinator_ends_its_process_alone(ended: list[BaseException]) -> None:
    """It does not kill the actor, whose newest process may be its successor."""
    superseded = Superseded("a newer one")

    async def run() -> None:
        raise superseded

    async def build() -> Any:
        return SimpleNamespace(coordinator=None, run=run)

    await construct(build)
    assert ended == [superseded]


async def test_a_start_that_is_superseded_ends_the_process(ended: list[BaseException]) -> None:
    """Two starts may meet; Ray starts the newer of them again."""

    async def build() -> Any:
        raise Superseded("a newer one")

    with pytest.raises(Superseded):
        await construct(build)
    assert len(ended) == 1


async def test_a_coordinator_of_an_older_run_does_not_come_back(ended: list[BaseException]) -> None:
    """The error goes to Ray, which then gives the actor up."""

    async def build() -> Any:
        raise OtherRun("another run")

    with pytest.raises(OtherRun):
        await construct(build)
    assert not ended
