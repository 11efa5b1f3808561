"""One shard's process: its gRPC server, its snapshots on time, and its word when it has caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from actors.click import ClickBatch
from actors.errors import EchoRankError, ShardUnavailable
from actors.exposure import ExposureLog
from actors.server import RpcServer
from actors.shard import Shard
from monitoring.discovery import Target

TICK_S = 0.1  # how often it is looked whether a snapshot is due or a partition has caught up


class Registry(Protocol):
    """The coordinator, as far as a shard needs it."""

    async def register(self, shard: str, address: str, target: Target) -> dict[int, int]:
        """The shard's partitions, each with a new epoch."""
        ...

    async def ready(self, epochs: Mapping[int, int]) -> None:
        """Say which partitions have caught up, under which epoch."""


class ShardProcess:
    """Registers, restores, then serves; blocking work of the shard runs in worker threads.

    Health says SERVING once every partition has caught up to within the bound.
    """

    def __init__(
        self,
        *,
        shard: Shard,
        server: RpcServer,
        host: str,
        registry: Registry,
        target: Target,
        exposures: ExposureLog | None = None,
    ) -> None:
        self._shard, self._server, self._host = shard, server, host
        self._registry, self._target, self._exposures = registry, target, exposures
        self._assigned: frozenset[int] = frozenset()
        self._ends: dict[int, int] = {}  # high watermarks of partitions that are not ready yet

    async def start(self) -> None:
        """Listen on a free port, take what the coordinator assigns, and restore it."""
        address = await self._server.start(self._host, 0)
        epochs = await self._registry.register(self._shard.shard_id, address, self._target)
        for partition, epoch in epochs.items():
            await asyncio.to_thread(self._shard.own, partition, epoch)
        self._assigned = frozenset(epochs)

    async def run(self) -> None:
        """Take snapshots and report readiness, for ever.

        Raises:
            ExceptionGroup: with ShardUnavailable, if the shard gave a partition up because folding failed; a process
                that starts anew restores it.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_snapshots())
            tasks.create_task(self._report_ready())

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, finish those in flight, save everything, then write the exposures that wait."""
        await self._server.stop(grace_s)
        for partition in self._shard.owned():
            await asyncio.to_thread(self._shard.snapshot, partition)
        if self._exposures is not None:
            await asyncio.to_thread(self._exposures.close, grace_s)

    async def positions(self) -> Mapping[int, int]:
        """The next offset of each restored partition."""
        return self._shard.positions()

    async def durable(self) -> Mapping[int, int]:
        """The offset covered by snapshots, of each restored partition."""
        return self._shard.durable()

    async def apply(self, batches: Sequence[tuple[ClickBatch, int]]) -> list[int | EchoRankError]:
        """Fold batches, each under its epoch; for each the partition's next offset, or why it was refused."""
        return await asyncio.to_thread(lambda: [self._outcome(batch, epoch) for batch, epoch in batches])

    def _outcome(self, batch: ClickBatch, epoch: int) -> int | EchoRankError:
        try:
            return self._shard.apply(batch, epoch)
        except EchoRankError as error:
            return error

    async def skip(self, partition: int, start: int, stop: int, reason: str, epoch: int) -> int:
        """Move over offsets that the log has lost; the partition's next offset."""
        return await asyncio.to_thread(self._shard.skip, partition, start, stop, reason, epoch)

    async def observe_ends(self, ends: Mapping[int, int]) -> None:
        """Learn high watermarks."""
        for partition, end in ends.items():
            self._shard.observe_end(partition, end)
            if not self._shard.ready(partition):
                self._ends[partition] = end

    async def digests(self) -> dict[tuple[int, str], str]:
        """The digest of each partition and arm."""
        found = {}
        for stats in self._shard.stats():
            for arm in stats.arms:
                found[stats.partition, arm] = await asyncio.to_thread(self._shard.digest, stats.partition, arm)
        return found

    async def _take_snapshots(self) -> None:
        while True:
            await asyncio.to_thread(self._shard.snapshot_all_due)
            await asyncio.sleep(TICK_S)

    async def _report_ready(self) -> None:
        reported: dict[int, int] = {}
        while True:
            self._check_complete()
            for partition, end in self._ends.items():
                self._shard.observe_end(partition, end)  # clicks were applied since it was heard
            owned = self._shard.owned()
            ready = {partition: epoch for partition, epoch in owned.items() if self._shard.ready(partition)}
            self._ends = {partition: end for partition, end in self._ends.items() if partition not in ready}
            if ready != reported:
                await self._registry.ready(ready)
                await self._server.set_serving(ready.keys() == owned.keys())
                reported = ready
            await asyncio.sleep(TICK_S)

    def _check_complete(self) -> None:
        if given_up := sorted(self._assigned - self._shard.owned().keys()):
            raise ShardUnavailable(
                f"{self._shard.shard_id} gave up partitions {given_up} because folding failed; it has to start anew to "
                "restore them, and if that repeats, the traceback above names the cause"
            )
