"""What the one actor of all processes lets through, and how its process ends, without Ray."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from actors.errors import NotOwner, OtherRun, ShardUnavailable, Superseded
from cluster.processes.actor import Actor
from cluster.processes.ray_port import call
from tests.cluster.processes.fake_ray import FakeRay, nobody

ROOT = Path(__file__).parents[3]


class Counter:
    """A process of few words."""

    def __init__(self) -> None:
        self.count = 0

    def methods(self) -> Sequence[Callable[..., Any]]:
        """All but `hidden`."""
        return self.add, self.total, self.refuse

    async def run(self) -> None:
        """For ever."""
        await asyncio.Event().wait()

    def add(self, number: int) -> None:
        """A plain function."""
        self.count += number

    async def total(self) -> int:
        """A coroutine function."""
        return self.count

    async def refuse(self) -> None:
        """Raise what callers know."""
        raise NotOwner("another shard's")

    async def hidden(self) -> None:
        """Nobody else's business."""


class Other(Counter):
    """Of the same names, but none of them its own."""

    def add(self, number: int) -> None:
        """A method of its own, which it does not list."""


@pytest.fixture
def restarted() -> FakeRay:
    """In a process that Ray has started again."""
    return FakeRay(nobody, restarted=True)


async def constructed(ray: FakeRay, build: Callable[[], Awaitable[Any]]) -> Actor:
    """As Ray does, and let the actor run."""
    actor = Actor.__new__(Actor)
    await Actor.__init__(actor, ray, build)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return actor


async def counting() -> tuple[Actor, FakeRay]:
    """An actor with a counter, and the way to it."""

    async def build() -> Counter:
        return Counter()

    async def ask(_: str, method: str, *args: Any) -> Any:
        try:
            return await actor.call(method, *args)
        except Exception as error:
            raise RayTaskError(method, "", error, ip="here") from error

    ray = FakeRay(ask)
    actor = await constructed(ray, build)
    return actor, ray


async def test_listed_methods_can_be_called() -> None:
    """Coroutine functions and plain ones; the process id besides."""
    _, ray = await counting()
    await call(ray, "counter", Counter.add, 3)
    await call(ray, "counter", Counter.add, 4)
    assert await call(ray, "counter", Counter.total) == 7
    assert await call(ray, "counter", Actor.pid) == os.getpid()


async def test_what_a_method_raises_comes_back() -> None:
    """An error of this project as itself."""
    _, ray = await counting()
    with pytest.raises(NotOwner, match="another shard's"):
        await call(ray, "counter", Counter.refuse)


@pytest.mark.parametrize("method", [Counter.hidden, Counter.run, Other.add])
async def test_no_other_method_can_be_called(method: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not those that the process keeps to itself, nor those of another kind of process."""
    actor, ray = await counting()
    name = method.__qualname__
    allowed = "Actor.pid, Counter.add, Counter.total, Counter.refuse"
    with pytest.raises(AttributeError, match=f"{name} cannot be called here, only: {allowed}"):
        await actor.call(name)
    with pytest.raises(ShardUnavailable, match=f"counter failed in .*{name} cannot be called"):
        await call(ray, "counter", method)
    assert "AttributeError" in caplog.text


async def test_an_actor_that_is_not_there_or_not_in_time_is_unavailable() -> None:
    """Which is retriable; the message says who did not answer what."""

    async def for_ever(*_: Any) -> None:
        await asyncio.Event().wait()

    def unknown(actor: str, *_: Any) -> Awaitable[Any]:
        raise ValueError(f"Failed to look up actor with name {actor!r}")

    with pytest.raises(ShardUnavailable, match=r"shard-0 does not answer total \(.*none in 0 s"):
        await call(FakeRay(for_ever), "shard-0", Counter.total, timeout_s=0.0)
    with pytest.raises(ShardUnavailable, match=r"shard-9 does not answer total \(.*look up actor"):
        await call(FakeRay(unknown), "shard-9", Counter.total)


async def test_what_fails_that_should_run_for_ever_ends_the_process(restarted: FakeRay) -> None:
    """So does a superseded coordinator, alone: it does not kill the actor,
    whose newest process may be its successor.
    """
    superseded = Superseded("a newer one")

    async def run() -> None:
        raise superseded

    async def build() -> Any:
        return SimpleNamespace(methods=tuple, run=run)

    await constructed(restarted, build)
    assert restarted.ended == [superseded]


async def test_a_run_that_ends_leaves_the_process(restarted: FakeRay) -> None:
    """It was told to stop, and answers the rest."""

    async def run() -> None:
        pass

    async def build() -> Any:
        return SimpleNamespace(methods=tuple, run=run)

    actor = await constructed(restarted, build)
    assert not restarted.ended
    assert await actor.pid() == os.getpid()


async def test_a_start_that_is_superseded_ends_the_process(restarted: FakeRay) -> None:
    """Two starts may meet; Ray starts the newer of them again."""

    async def build() -> Any:
        raise Superseded("a newer one")

    with pytest.raises(Superseded):
        await constructed(restarted, build)
    assert len(restarted.ended) == 1


async def test_a_first_start_that_fails_tells_its_starter() -> None:
    """Ray hands the error on only if the process lives."""
    ray = FakeRay(nobody)

    async def build() -> Any:
        raise OSError("the port is taken")

    with pytest.raises(OSError, match="the port is taken"):
        await constructed(ray, build)
    assert not ray.ended


async def test_a_coordinator_of_an_older_run_does_not_come_back(restarted: FakeRay) -> None:
    """The error goes to Ray, which then gives the actor up."""

    async def build() -> Any:
        raise OtherRun("another run")

    with pytest.raises(OtherRun):
        await constructed(restarted, build)
    assert not restarted.ended


SNIPPET = """
from cluster.processes.ray_port import Ray, call
from cluster.processes.shard_process import ShardProcess


async def ask(ray: Ray) -> None:
    known: bool = await call(ray, "shard-0", ShardProcess.remembers, 0, 7)
    print(known)
    await call(ray, "shard-0", ShardProcess.remember, 0, 7)
    await call(ray, "shard-0", ShardProcess.remembers, 0, "7")
    await call(ray, "shard-0", ShardProcess.remembers, 0)
    number: str = await call(ray, "shard-0", ShardProcess.remembers, 0, 7)
"""


def test_mypy_checks_name_arguments_and_answer(tmp_path: Path) -> None:
    """A call that is right passes; a wrong name, a wrong argument,
    one too few and a wrong type of the answer are each refused.
    """
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", str(snippet)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = set(map(int, re.findall(r"snippet\.py:(\d+): error", found.stdout)))
    assert wrong == {9, 10, 11, 12}, found.stdout + found.stderr
