"""Shards' actors as they come and go while the system runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ray.exceptions import RayError

from actors.errors import ConfigError, EchoRankError, ShardUnavailable
from cluster.names import shard_name
from cluster.processes.ray_port import Ray, call
from cluster.processes.shard_process import ShardProcess

log = logging.getLogger(__name__)

GRACE_S = 5.0  # for requests in flight
PAUSE_S = 0.05
KILLED_S = 10.0  # until Ray has forgotten the name of an actor that it was told to kill


class ShardActors:
    """Starts and stops shards by name; doing either twice changes nothing."""

    def __init__(self, ray: Ray, create: Callable[[int, str], Any]) -> None:
        self._ray = ray
        self._create = create

    async def spawn(self, number: int, node: str) -> None:
        """Start a detached actor, which registers when it is constructed;
        ShardUnavailable if Ray refuses.

        It comes to `node`, or where there is room if that has none, or if it is empty.
        """
        await asyncio.to_thread(self._spawn, number, node)

    async def nodes(self) -> frozenset[str]:
        """The live nodes that have processors to give: a head may keep its own to itself."""
        return await asyncio.to_thread(self._ray.nodes)

    async def stop(self, number: int) -> None:
        """Let an empty shard finish its requests, then end its actor for good;
        ShardUnavailable if Ray does not.
        """
        name = shard_name(number)
        try:
            await call(self._ray, name, ShardProcess.stop, GRACE_S)
        except EchoRankError as error:
            log.warning("%s did not stop by itself and is killed: %s", name, error)
        await asyncio.to_thread(self._kill, name)
        deadline = asyncio.get_running_loop().time() + KILLED_S
        while await asyncio.to_thread(self._ray.has, name):
            if asyncio.get_running_loop().time() > deadline:
                raise ShardUnavailable(
                    f"{name} was killed, but after {KILLED_S:g} s Ray still has its name"
                )
            await asyncio.sleep(PAUSE_S)

    def _spawn(self, number: int, node: str) -> None:
        try:
            self._create(number, node)
        except ConfigError:
            log.info("%s runs already", shard_name(number))
        except RayError as error:
            raise ShardUnavailable(f"{shard_name(number)} cannot be started: {error}") from error

    def _kill(self, name: str) -> None:
        try:
            self._ray.kill(name)
        except ValueError:
            log.info("%s has ended already", name)
