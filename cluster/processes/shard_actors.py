"""Shards' actors as they come and go while the system runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from actors.errors import ConfigError, EchoRankError, ShardUnavailable
from cluster.names import shard_name
from cluster.processes.remote import call

log = logging.getLogger(__name__)

GRACE_S = 5.0  # for requests in flight
PAUSE_S = 0.05
KILLED_S = 10.0  # until Ray has forgotten the name of an actor that it was told to kill


class ShardActors:
    """Starts and stops shards by name; doing either twice changes nothing."""

    def __init__(self, namespace: str, create: Callable[[int, str], Any]) -> None:
        self._namespace = namespace
        self._create = create

    async def spawn(self, number: int, node: str) -> None:
        """Start a detached actor, which registers when it is constructed;
        ShardUnavailable if Ray refuses.

        It comes to `node`, or where there is room if that has none, or if it is empty.
        """
        await asyncio.to_thread(self._spawn, number, node)

    async def nodes(self) -> frozenset[str]:
        """The live nodes that have processors to give: a head may keep its own to itself."""
        return await asyncio.to_thread(self._nodes)

    async def stop(self, number: int) -> None:
        """Let an empty shard finish its requests, then end its actor for good;
        ShardUnavailable if Ray does not.
        """
        name = shard_name(number)
        try:
            await call(name, self._namespace, "stop", GRACE_S)
        except EchoRankError as error:
            log.warning("%s did not stop by itself and is killed: %s", name, error)
        await asyncio.to_thread(self._kill, name)
        deadline = asyncio.get_running_loop().time() + KILLED_S
        while await asyncio.to_thread(self._exists, name):
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

    def _nodes(self) -> frozenset[str]:
        return frozenset(
            each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")
        )

    def _exists(self, name: str) -> bool:
        try:
            ray.get_actor(name, self._namespace)
        except ValueError:
            return False
        return True

    def _kill(self, name: str) -> None:
        try:
            ray.kill(ray.get_actor(name, self._namespace), no_restart=True)
        except ValueError:
            log.info("%s has ended already", name)
