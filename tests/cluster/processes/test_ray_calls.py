"""Actors over the real Ray: their names, their ends and their next processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from actors.errors import ConfigError, ShardUnavailable
from cluster.processes.actor import Actor
from cluster.processes.ray_calls import RealRay, begin
from cluster.processes.ray_port import call
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.ray
NAME = "coordinator"


@pytest.fixture(scope="module")
def port() -> Iterator[RealRay]:
    """In a Ray of our own."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, namespace="calls")
    yield RealRay("calls")
    ray.shutdown()


@pytest.fixture(autouse=True)
async def ended(port: RealRay) -> Any:
    """The actor of a test, for good."""
    yield
    if port.has(NAME):
        port.kill(NAME)
    await until(lambda: not port.has(NAME))


def process(broken: Path | None = None) -> Any:
    """How to build a process that fails when it is told to, and cannot be built while `broken` is a
    file; made in here, as Ray's processes find no tests to import.
    """

    class Failing:
        def __init__(self) -> None:
            self._told = asyncio.Event()

        def methods(self) -> Sequence[Callable[..., Any]]:
            return self.restarted, self.fail

        async def run(self) -> None:
            await self._told.wait()
            raise RuntimeError("planted")

        def restarted(self) -> bool:
            return RealRay("calls").restarted

        def fail(self) -> None:
            self._told.set()

        def hidden(self) -> None:
            raise AssertionError

    async def build() -> Failing:
        if broken is not None and broken.exists():
            with broken.with_suffix(".tries").open("a") as file:
                file.write(f"{os.getpid()}\n")
            raise OSError("the port is taken")
        return Failing()

    return Failing, build


def tries(broken: Path) -> Path:
    """Where a build that fails writes its process id."""
    return broken.with_suffix(".tries")


async def next_pid(port: RealRay) -> int:
    """Of the process that Ray has started again, once it answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call(port, NAME, Actor.pid)
            except ShardUnavailable:
                await asyncio.to_thread(port.has, NAME)


async def test_an_actor_has_its_name_everywhere(port: RealRay) -> None:
    """A second one of the name is refused; its process shows it; once ended, nobody has it."""
    kind, build = process()
    handle = port.create(NAME, build)
    pid = ray.get(begin(handle, Actor.pid), timeout=PATIENCE_S)
    assert Path(f"/proc/{pid}/cmdline").read_text().startswith(f"ray::{NAME}")
    assert not await call(port, NAME, kind.restarted)
    with pytest.raises(ConfigError, match="has an actor 'coordinator' already"):
        port.create(NAME, build)
    with pytest.raises(ShardUnavailable, match=r"coordinator failed in hidden: .*cannot be called"):
        await call(port, NAME, kind.hidden)
    port.kill(NAME)
    await until(lambda: not port.has(NAME))
    with pytest.raises(ValueError, match=NAME):
        port.kill(NAME)


async def test_what_fails_that_should_run_for_ever_ends_the_process(
    port: RealRay, tmp_path: Path
) -> None:
    """Ray starts another until one can be built; that one knows that it is not the first."""
    broken = tmp_path / "broken"
    kind, build = process(broken)
    first = ray.get(begin(port.create(NAME, build), Actor.pid), timeout=PATIENCE_S)
    broken.touch()
    tries(broken).touch()
    with contextlib.suppress(ShardUnavailable):  # the process may end before it answers
        await call(port, NAME, kind.fail)
    await until(lambda: len(tries(broken).read_text().split()) >= 2)
    broken.unlink()
    built = await next_pid(port)
    assert built not in {first, *map(int, tries(broken).read_text().split())}
    assert await call(port, NAME, kind.restarted)


async def test_a_first_start_that_fails_says_why(port: RealRay, tmp_path: Path) -> None:
    """Ray starts no other, and hands the error to who waits for the actor."""
    broken = tmp_path / "broken"
    broken.touch()
    _, build = process(broken)
    handle = port.create(NAME, build)
    with pytest.raises(RayActorError, match="the port is taken"):
        ray.get(begin(handle, Actor.pid), timeout=PATIENCE_S)
    assert len(tries(broken).read_text().split()) == 1
