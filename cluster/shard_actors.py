"""Shards' actors as they come and go while the system runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from actors.errors import ConfigError, EchoRankError, ShardUnavailable
from cluster.remote import call
from cluster.routing import shard_name

log = logging.getLogger(__name__)

GRACE_S = 5.0  # for requests in flight


class ShardActors:
    """Starts and stops shards by name; doing either twice changes nothing."""

    def __init__(self, namespace: str, create: Callable[[int], Any]) -> None:
        self._namespace, self._create = namespace, create

    async def spawn(self, number: int) -> None:
        """Start a detached actor, which registers when it is constructed; ShardUnavailable if Ray refuses."""
        await asyncio.to_thread(self._spawn, number)

    async def stop(self, number: int) -> None:
        """Let an empty shard finish its requests, then end its actor for good."""
        name = shard_name(number)
        try:
            await call(name, self._namespace, "stop", GRACE_S)
        except EchoRankError as error:
            log.warning("%s did not stop by itself and is killed: %s", name, error)
        await asyncio.to_thread(self._kill, name)

    def _spawn(self, number: int) -> None:
        try:
            self._create(number)
        except ConfigError:
            log.info("%s runs already", shard_name(number))
        except RayError as error:
            raise ShardUnavailable(f"{shard_name(number)} cannot be started: {error}") from error

    def _kill(self, name: str) -> None:
        try:
            ray.kill(ray.get_actor(name, self._namespace), no_restart=True)
        except ValueError:
            log.info("%s has ended already", name)
