"""Brings what a shard holds to what it is granted, without ever holding up its heartbeats."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from actors.backoff import Backoff
from actors.clock import Clock
from actors.errors import EchoRankError
from actors.shard.roles import Grant, steps
from actors.shard.shard import Shard

log = logging.getLogger(__name__)

RESTORES = 2  # at a time: more would share one disk and one network
# after a restore that failed, or a partition that had to be given up; whatever the error, who is
# granted a partition goes on trying until the grant goes elsewhere
BACKOFF = Backoff(min_s=1.0, max_s=1.0)


class Reconciler:
    """Owns, renews and releases in worker threads, one step of a partition at a time."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        self._shard = shard
        self._clock = clock
        self._restores = asyncio.Semaphore(RESTORES)
        self._steps: dict[int, asyncio.Task[None]] = {}  # under way, by partition
        # the epoch under which each partition was taken or renewed last
        self._taken: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}
        self._defect: BaseException | None = None

    def follow(self, granted: Mapping[int, Grant]) -> None:
        """Start what has to be done; what is under way, or has to wait, is started by a later call.

        Raises:
            Exception: what a step of an earlier call ended with, if that is none of our errors.
        """
        if self._defect is not None:
            raise self._defect
        held = self._shard.grants()
        self._taken = {p: epoch for p, epoch in self._taken.items() if p in granted or p in held}
        todo = steps(held, granted)
        for partition in todo.release:
            self._start(partition, self._release(partition))
        for partition, grant in todo.renew.items():
            self._start(partition, self._renew(partition, grant))
        for partition, grant in todo.hold.items():
            if self._taken.get(partition) != grant.epoch and self._is_time(partition):
                self._start(partition, self._own(partition, grant))

    def failed(self) -> dict[int, int]:
        """The partitions that the shard gave up by itself, and the epoch of each:
        it needs a newer one to restore.
        """
        held = self._shard.grants()
        lost = {
            p: epoch for p, epoch in self._taken.items() if p not in held and p not in self._steps
        }
        for partition in lost:
            self._retry_at.setdefault(partition, self._clock.monotonic() + BACKOFF.after(1))
        return lost

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._steps.values(), return_exceptions=True)

    def _is_time(self, partition: int) -> bool:
        return self._retry_at.get(partition, 0.0) <= self._clock.monotonic()

    def _start(self, partition: int, step: Coroutine[Any, Any, None]) -> None:
        if partition in self._steps:
            step.close()
            return
        self._steps[partition] = task = asyncio.create_task(step)
        task.add_done_callback(partial(self._done, partition))

    def _done(self, partition: int, task: asyncio.Task[None]) -> None:
        del self._steps[partition]
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, EchoRankError):
            self._defect = error
            return
        wait_s = BACKOFF.after(1)
        log.error("partition %d: %s; tried again in %.0f s", partition, error, wait_s)
        self._retry_at[partition] = self._clock.monotonic() + wait_s

    async def _own(self, partition: int, grant: Grant) -> None:
        async with self._restores:
            await asyncio.to_thread(self._shard.hold, partition, grant.epoch, grant.role)
        self._settle(partition, grant)

    async def _renew(self, partition: int, grant: Grant) -> None:
        await asyncio.to_thread(self._shard.hold, partition, grant.epoch, grant.role)
        self._settle(partition, grant)

    async def _release(self, partition: int) -> None:
        await asyncio.to_thread(self._shard.release, partition)

    def _settle(self, partition: int, grant: Grant) -> None:
        self._taken[partition] = grant.epoch
        self._retry_at.pop(partition, None)
