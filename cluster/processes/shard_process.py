"""One shard's process: its gRPC server, its heartbeats, and its snapshots on time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from actors.calls.server import RpcServer
from actors.clicks.click import ClickBatch
from actors.clock import Clock
from actors.errors import EchoRankError, NotOwner, ShardUnavailable, SnapshotError
from actors.serve.exposure import ExposureLog
from actors.serve.score_ids import ScoreIds
from actors.shard.erasure import ErasedStates
from actors.shard.held import Fingerprint
from actors.shard.roles import Feed, Grant, Report
from actors.shard.shard import Shard
from actors.snapshots.store import Deleted
from cluster.coordinator.ports import CoordinatorForShards
from cluster.processes.reconciler import Reconciler
from cluster.processes.served_models import ServedModels
from monitoring.discovery import Target

log = logging.getLogger(__name__)

EVICTION_TICK_S = 1.0  # how often idle users are looked for
TICK_S = 0.1  # how often it is looked whether a snapshot is due
HEARTBEAT_S = 0.2


class ShardProcess:
    """Registers, then follows the answers to its heartbeats;
    blocking work of the shard runs in worker threads.

    Health says SERVING while all that is granted has caught up.
    """

    def __init__(
        self,
        *,
        shard: Shard,
        server: RpcServer,
        host: str,
        node: str,
        coordinator: CoordinatorForShards,
        target: Target,
        clock: Clock,
        exposures: ExposureLog | None = None,
        ids: ScoreIds | None = None,
        models: ServedModels | None = None,
    ) -> None:
        self._shard = shard
        self._server = server
        self._host = host
        self._clock = clock
        self._node = node
        self._coordinator = coordinator
        self._target = target
        self._exposures = exposures
        # which hold the bundles as long as this lives
        self._ids = ids or ScoreIds()
        self._models = models
        self._reconciler = Reconciler(shard, clock)
        self._incarnation = 0
        self._unheard = 0  # heartbeats in a row

    def methods(self) -> Sequence[Callable[..., Any]]:
        """What other processes may call."""
        return (
            self.positions,
            self.next_offsets,
            self.durable,
            self.apply_batches,
            self.skip,
            self.observe_ends,
            self.erase,
            self.remembers,
            self.forget_older,
            self.digests,
            self.snapshot,
            self.fingerprints,
            self.stop,
        )

    async def start(self) -> None:
        """Listen on a free port, and register;
        answers are named after the incarnation, and none is given before.
        """
        address = await self._server.start(self._host, 0)
        self._incarnation = await self._coordinator.register(
            self._shard.shard_id, address, self._target, self._node
        )
        self._ids.process = self._incarnation

    async def run(self) -> None:
        """Send heartbeats, take snapshots and evict idle users, for ever.

        Raises:
            ExceptionGroup: with NotOwner, if another process of this shard has registered: this one
                has to end.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_heartbeats())
            tasks.create_task(self._take_snapshots())
            tasks.create_task(self._evict_idle())

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, finish those in flight, save everything,
        then write the exposures that wait.

        Nothing that fails keeps the rest from being done.

        Raises:
            SnapshotError: something failed; the message says what, after everything was tried.
        """
        failures = [
            await _failure("calls in flight", self._server.stop(grace_s)),
            await _failure("restores under way", self._reconciler.close()),
        ]
        for partition in self._shard.owned():
            save = asyncio.to_thread(self._shard.snapshot, partition)
            failures.append(await _failure(f"the snapshot of partition {partition}", save))
        if self._exposures is not None:
            failures.append(
                await _failure("exposures", asyncio.to_thread(self._exposures.close, grace_s))
            )
        if failed := [failure for failure in failures if failure]:
            raise SnapshotError(
                f"{self._shard.shard_id} has stopped, without {'; '.join(failed)}; the next start "
                "replays the log from the last snapshots"
            )

    async def positions(self) -> Mapping[int, int]:
        """The next offset of each restored partition, in whichever role: the least of its arms'."""
        return self._shard.positions()

    async def next_offsets(self, feed: Feed, epochs: Mapping[int, int]) -> Mapping[int, int]:
        """Where a reader goes on, for each of these partitions that is
        restored and held under this epoch.

        What is held under an older one may be given up instead of renewed, and be restored from
        further back; under its own epoch a partition only moves on.
        """
        # before the offsets, which therefore are of these epochs or of newer ones
        grants = self._shard.grants()
        offsets = self._shard.next_offsets(feed)
        return {
            p: offsets[p]
            for p, grant in grants.items()
            if p in offsets and epochs.get(p) == grant.epoch
        }

    async def durable(self) -> Mapping[int, int]:
        """The offset covered by snapshots, of each restored partition that is owned."""
        return self._shard.durable()

    async def apply_batches(
        self, batches: Sequence[tuple[ClickBatch, int]], feed: Feed = Feed.FRONT
    ) -> list[int | EchoRankError]:
        """Fold batches, each under its epoch;
        for each where its reader goes on, or why it was refused.
        """
        return await asyncio.to_thread(
            lambda: [self._outcome(batch, epoch, feed) for batch, epoch in batches]
        )

    def _outcome(self, batch: ClickBatch, epoch: int, feed: Feed) -> int | EchoRankError:
        try:
            return self._shard.apply(batch, epoch, feed)
        except EchoRankError as error:
            return error

    async def skip(
        self,
        partition: int,
        start: int,
        stop: int,
        reason: str,
        epoch: int,
        feed: Feed = Feed.FRONT,
    ) -> int:
        """Move over offsets that the log has lost; where the reader goes on."""
        return await asyncio.to_thread(
            self._shard.skip, partition, start, stop, reason, epoch, feed
        )

    async def observe_ends(self, ends: Mapping[int, int]) -> None:
        """Learn high watermarks; those of partitions that are held no more
        are another shard's business.
        """
        held = self._shard.grants()
        for partition, end in ends.items():
            if partition in held:
                self._shard.observe_end(partition, end)

    async def erase(self, partition: int, user_key: int, until: int, epoch: int) -> ErasedStates:
        """Forget a user in every arm, in whichever role the partition is held; what was removed."""
        return await asyncio.to_thread(self._shard.erase, partition, user_key, until, epoch)

    async def forget_older(self, partition: int) -> list[Deleted]:
        """Save all rows of a partition and delete its older snapshots; which files."""
        return await asyncio.to_thread(self._shard.forget_older, partition)

    async def remembers(self, partition: int, user_key: int) -> bool:
        """Whether anything of a partition that is held may still name the user."""
        return await asyncio.to_thread(self._shard.remembers, partition, user_key)

    async def digests(self) -> dict[tuple[int, str], str]:
        """The digest of each partition and arm that is owned."""
        found = {}
        for stats in self._shard.stats():
            if stats.partition in self._shard.owned():
                for arm in stats.arms:
                    found[stats.partition, arm] = await asyncio.to_thread(
                        self._shard.digest, stats.partition, arm
                    )
        return found

    async def snapshot(self, partitions: Sequence[int]) -> dict[int, int]:
        """Save these partitions now; the offsets that snapshots cover."""
        return {
            partition: await asyncio.to_thread(self._shard.snapshot, partition)
            for partition in partitions
        }

    async def fingerprints(self, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm of a partition, in whichever role it is held."""
        return await asyncio.to_thread(self._shard.fingerprints, partition)

    async def _take_snapshots(self) -> None:
        while True:
            await asyncio.to_thread(self._shard.snapshot_all_due)
            await asyncio.sleep(TICK_S)

    async def _evict_idle(self) -> None:
        while True:
            await asyncio.to_thread(self._shard.evict_idle)
            await asyncio.sleep(EVICTION_TICK_S)

    async def _send_heartbeats(self) -> None:
        while True:
            sent_s = self._clock.monotonic()
            reports = self._shard.reports()
            report = Report(
                incarnation=self._incarnation, held=reports, failed=self._reconciler.failed()
            )
            try:
                answer = await self._coordinator.heartbeat(self._shard.shard_id, report)
            except ShardUnavailable as error:
                self._unheard += 1
                if self._unheard == 1:
                    log.warning(
                        (
                            "no answer to a heartbeat; without one for a lease, answers count as "
                            "stale: %s"
                        ),
                        error,
                    )
            else:
                self._unheard = 0
                self._shard.lease(sent_s + answer.lease_s, answer.grants)
                self._reconciler.follow(answer.grants)
                await self._server.set_serving(self._has_caught_up(answer.grants))
            await asyncio.sleep(max(0.0, sent_s + HEARTBEAT_S - self._clock.monotonic()))

    def _has_caught_up(self, granted: Mapping[int, Grant]) -> bool:
        reports = self._shard.reports()
        return all(partition in reports and reports[partition].caught_up for partition in granted)


async def _failure(what: str, step: Awaitable[object]) -> str:
    """Take one step of a stop; what failed and why, or nothing."""
    try:
        await step
    except NotOwner as error:
        log.info("%s is another shard's business: %s", what, error)
    except Exception as error:  # whatever it is, the other steps are still to be taken
        log.exception("%s failed while the shard stops", what)
        return f"{what} ({error!r})"
    return ""
