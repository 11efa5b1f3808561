"""The Ray actors: thin, async, and restarted by Ray.

Ray runs a restarted actor's constructor again and no other call, so a constructor's argument is the
function that builds and starts everything, and an actor that has been constructed works. When
something in an actor fails that should run for ever, the process ends at once and Ray starts
another: a half-dead process helps nobody. So it does when a restarted actor cannot be constructed
(a port still taken, a file system that does not answer): Ray gives an actor up whose constructor
raises, but starts one again whose process ends. At the first start the error goes to the starter. A
coordinator that another one has superseded ends like that, too: its successor may be of the same
actor, which must not be killed. If it is of another run, the next start finds that out and fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import ray

from actors.archive.erasure import ErasedRows
from actors.clicks.click import ClickBatch
from actors.errors import EchoRankError, OtherRun
from actors.shard.erasure import ErasedStates
from actors.shard.held import Fingerprint
from actors.shard.roles import Assignment, Feed, Report
from actors.snapshots.store import Deleted
from cluster.coordinator.coordinator import Coordinator, Progress
from cluster.coordinator.routing import RoutingTable
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.coordinator_process import CoordinatorProcess
from cluster.processes.gateway_process import GatewayProcess
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.shard_process import ShardProcess
from monitoring.discovery import Target

log = logging.getLogger(__name__)

T = TypeVar("T")


class _Process:
    """What all actors have."""

    _running: asyncio.Task[None]

    async def pid(self) -> int:
        """The process id; answered once the constructor is through."""
        return os.getpid()

    async def _built(self, build: Callable[[], Awaitable[T]]) -> T:
        try:
            return await build()
        except OtherRun:
            raise
        except Exception as error:
            if ray.get_runtime_context().was_current_actor_reconstructed:
                _end(error)
            raise

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._running = asyncio.create_task(work)
        self._running.add_done_callback(_end_with)


class CoordinatorActor(_Process):
    """Forwards to `cluster.coordinator.coordinator.Coordinator`."""

    _coordinator: Coordinator

    async def __init__(self, build: Callable[[], Awaitable[CoordinatorProcess]]) -> None:  # type: ignore[misc]  # Ray awaits it
        process = await self._built(build)
        self._coordinator = process.coordinator
        self._run(process.run())

    async def register(self, shard: str, address: str, target: Target, node: str) -> int:
        """A shard starts."""
        return self._coordinator.register(shard, address, target, node)

    async def heartbeat(self, shard: str, report: Report) -> Assignment:
        """A shard lives."""
        return self._coordinator.heartbeat(shard, report)

    async def join(self, target: Target) -> None:
        """Another process starts."""
        self._coordinator.join(target)

    async def scale(self, shards: int) -> Progress:
        """Ask for so many shards."""
        return self._coordinator.scale(shards)

    async def drain(self, shard: str) -> Progress:
        """Ask for an empty shard."""
        return self._coordinator.drain(shard)

    async def progress(self) -> Progress:
        """How far the shards are from what was asked for."""
        return self._coordinator.progress()

    async def wait_newer(self, version: int, timeout_s: float) -> RoutingTable:
        """The next routing table."""
        return await self._coordinator.wait_newer(version, timeout_s)


class ShardActor(_Process):
    """Forwards to `cluster.processes.shard_process.ShardProcess`."""

    async def __init__(self, build: Callable[[], Awaitable[ShardProcess]]) -> None:  # type: ignore[misc]
        self._process = await self._built(build)
        self._run(self._process.run())

    async def positions(self) -> Mapping[int, int]:
        """The next offsets."""
        return await self._process.positions()

    async def next_offsets(self, feed: Feed, epochs: Mapping[int, int]) -> Mapping[int, int]:
        """Where a reader goes on."""
        return await self._process.next_offsets(feed, epochs)

    async def durable(self) -> Mapping[int, int]:
        """The offsets covered by snapshots."""
        return await self._process.durable()

    async def apply_batches(
        self, batches: Sequence[tuple[ClickBatch, int]], feed: Feed
    ) -> list[int | EchoRankError]:
        """Fold batches of several partitions."""
        return await self._process.apply_batches(batches, feed)

    async def skip(
        self, partition: int, start: int, stop: int, reason: str, epoch: int, feed: Feed
    ) -> int:
        """Move over lost offsets."""
        return await self._process.skip(partition, start, stop, reason, epoch, feed)

    async def observe_ends(self, ends: Mapping[int, int]) -> None:
        """Learn high watermarks."""
        await self._process.observe_ends(ends)

    async def erase(self, partition: int, user_key: int, until: int, epoch: int) -> ErasedStates:
        """Forget a user."""
        return await self._process.erase(partition, user_key, until, epoch)

    async def remembers(self, partition: int, user_key: int) -> bool:
        """Whether a user is known."""
        return await self._process.remembers(partition, user_key)

    async def forget_older(self, partition: int) -> list[Deleted]:
        """Delete old snapshots."""
        return await self._process.forget_older(partition)

    async def digests(self) -> dict[tuple[int, str], str]:
        """The digest of each partition and arm."""
        return await self._process.digests()

    async def snapshot(self, partitions: Sequence[int]) -> dict[int, int]:
        """Save partitions now."""
        return await self._process.snapshot(partitions)

    async def fingerprints(self, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm of a partition."""
        return await self._process.fingerprints(partition)

    async def stop(self, grace_s: float) -> None:
        """Drain and save."""
        await self._process.stop(grace_s)


class IngestActor(_Process):
    """Forwards to `cluster.processes.ingest_process.IngestProcess`."""

    async def __init__(self, build: Callable[[], Awaitable[IngestProcess]]) -> None:  # type: ignore[misc]
        self._process = await self._built(build)
        self._run(self._process.run())

    async def stop(self) -> None:
        """Read no more."""
        await self._process.stop()


class ArchiveActor(_Process):
    """Forwards to `cluster.processes.archive_process.ArchiveProcess`."""

    async def __init__(self, build: Callable[[], Awaitable[ArchiveProcess]]) -> None:  # type: ignore[misc]
        self._process = await self._built(build)
        self._run(self._process.run())

    async def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        """Take a user's clicks out."""
        return await self._process.erase(partition, user_key, until)

    async def stop(self) -> None:
        """Write what was read."""
        await self._process.stop()


class GatewayActor(_Process):
    """Forwards to `cluster.processes.gateway_process.GatewayProcess`."""

    async def __init__(self, build: Callable[[], Awaitable[GatewayProcess]]) -> None:  # type: ignore[misc]
        self._process = await self._built(build)
        self._run(self._process.run())

    async def stop(self, grace_s: float) -> None:
        """Drain."""
        await self._process.stop(grace_s)


def _end_with(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _end(error)


def _end(error: BaseException) -> None:
    log.critical("this process ends and Ray starts another", exc_info=error)
    logging.shutdown()
    os._exit(1)
