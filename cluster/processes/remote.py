"""The coordinator and the shards, as other processes see them:
calls over Ray with the errors of this project.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from actors.backoff import Backoff, Tries
from actors.clicks.click import ClickBatch
from actors.errors import EchoRankError, NotOwner, ShardUnavailable, SnapshotError
from actors.shard.held import Fingerprint
from actors.shard.roles import Assignment, Feed, Report, Role
from cluster.coordinator.coordinator import Coordinator, Progress
from cluster.coordinator.routing import RoutingTable
from cluster.names import COORDINATOR
from cluster.processes.ray_port import Ray, call
from cluster.processes.shard_process import ShardProcess
from monitoring.discovery import Target

log = logging.getLogger(__name__)

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

LONG_POLL = 2 / 3  # of the time after which a call counts as failed
HEARTBEAT_CALL_S = 1.0
# folding takes milliseconds, and what restores says so at once; ingest asks where to go on
BATCH_CALL_S = 5.0
END_CALL_S = 1.0
SNAPSHOT_CALL_S = 600.0
BACKOFF = Backoff(min_s=0.1, max_s=2.0)
# between messages about high watermarks, which decide only how stale answers are called
TELL_S = 0.1


class Handed(NamedTuple):
    """A batch on its way to its owner."""

    batch: ClickBatch
    epoch: int
    answer: asyncio.Future[int]


class RemoteCoordinator:
    """The coordinator, asked again and again until it answers: it comes back,
    and nothing works without it.
    """

    def __init__(self, ray: Ray) -> None:
        self._ray = ray

    async def register(self, shard: str, address: str, target: Target, node: str) -> int:
        """The incarnation of the shard's process."""
        return await _persistently(
            lambda: self._call(Coordinator.register, shard, address, target, node)
        )

    async def heartbeat(self, shard: str, report: Report) -> Assignment:
        """What the shard is to hold; asked once, for the next heartbeat says more."""
        return await call(
            self._ray,
            COORDINATOR,
            Coordinator.heartbeat,
            shard,
            report,
            timeout_s=HEARTBEAT_CALL_S,
        )

    async def join(self, target: Target) -> None:
        """Show where this process has its metrics."""
        await _persistently(lambda: self._call(Coordinator.join, target))

    async def scale(self, shards: int) -> Progress:
        """Ask for so many shards, once: who asked is there to ask again."""
        return await self._call(Coordinator.scale, shards)

    async def drain(self, shard: str) -> Progress:
        """Ask for an empty shard, once."""
        return await self._call(Coordinator.drain, shard)

    async def progress(self) -> Progress:
        """How far the shards are from what was asked for."""
        return await _persistently(lambda: self._call(Coordinator.progress))

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Hand every new routing table to `take`, for ever."""
        version = 0
        while True:
            table = await self._newer(version)
            if table.version > version:
                version = table.version
                await take(table)

    async def _newer(self, version: int) -> RoutingTable:
        """The next table, or after a while the same."""
        wait_s = LONG_POLL * self._ray.call_s
        return await _persistently(
            lambda: call(self._ray, COORDINATOR, Coordinator.wait_newer, version, wait_s)
        )

    async def _call(self, method: Callable[[Coordinator, *Ts], R], *args: *Ts) -> R:
        return await call(self._ray, COORDINATOR, method, *args)


class RemoteReplicas:
    """Shards by name, for operators."""

    def __init__(self, ray: Ray) -> None:
        self._ray = ray

    async def snapshot(self, shard: str, partitions: Sequence[int]) -> dict[int, int]:
        """Save partitions that the shard owns."""
        return await call(
            self._ray, shard, ShardProcess.snapshot, partitions, timeout_s=SNAPSHOT_CALL_S
        )

    async def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm."""
        return await call(self._ray, shard, ShardProcess.fingerprints, partition)


class RemoteShards:
    """The shards that hold partitions in one role,
    addressed by partition: the `ShardPort` of ingest.
    """

    def __init__(self, ray: Ray, role: Role = Role.OWNER, feed: Feed = Feed.FRONT) -> None:
        self._ray = ray
        self._role = role
        self._feed = feed
        self._owners: dict[int, str] = {}
        self._epochs: dict[int, int] = {}  # under which these own them
        # by owner: what the next message to it takes along
        self._batches: dict[str, list[Handed]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._ends: dict[int, int] = {}  # high watermarks still to be told
        self._telling: asyncio.Task[None] | None = None

    def follow(self, table: RoutingTable) -> None:
        """Use this table from now on."""
        replicas = table.replicas(self._role)
        self._owners = {partition: replica.shard for partition, replica in replicas.items()}
        self._epochs = {partition: replica.epoch for partition, replica in replicas.items()}

    async def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The next offset of each partition whose shard answers,
        and has taken up the epoch of the table.
        """
        epochs = {
            partition: self._epochs[partition]
            for partition in partitions
            if partition in self._epochs
        }
        return await self._ask_owners(partitions, ShardProcess.next_offsets, self._feed, epochs)

    async def deliver(self, batch: ClickBatch, epoch: int) -> int:
        """Have a batch applied by its owner; the next offset.

        Batches that are handed over in the same turn of the event loop share one message per owner:
        a call over Ray costs more than folding a hundred clicks.
        """
        owner = self._owner(batch.partition)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = self._batches.setdefault(owner, [])
        waiting.append(Handed(batch, epoch, answer))
        if len(waiting) == 1:
            sending = asyncio.create_task(self._send(owner))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
        position: int = await answer
        return position

    async def _send(self, owner: str) -> None:
        await asyncio.sleep(0)  # the other partitions of this round
        handed = self._batches.pop(owner)
        for one, outcome in zip(handed, await self._outcomes(owner, handed), strict=True):
            if one.answer.done():  # its lane was abandoned
                continue
            if isinstance(outcome, EchoRankError):
                one.answer.set_exception(outcome)
            else:
                one.answer.set_result(outcome)

    async def _outcomes(
        self, owner: str, handed: Sequence[Handed]
    ) -> Sequence[int | EchoRankError]:
        """What became of each batch; whatever fails, each lane hears of it and can try again."""
        try:
            batches = [(one.batch, one.epoch) for one in handed]
            outcomes = await call(
                self._ray,
                owner,
                ShardProcess.apply_batches,
                batches,
                self._feed,
                timeout_s=BATCH_CALL_S,
            )
            if len(outcomes) == len(handed):
                return outcomes
            error: EchoRankError = ShardUnavailable(
                f"{owner} gave {len(outcomes)} answers to {len(handed)} batches"
            )
        except EchoRankError as refusal:
            error = refusal
        except Exception as unexpected:
            log.exception("handing %d batches to %s failed", len(handed), owner)
            error = ShardUnavailable(
                f"handing batches to {owner} failed: {unexpected!r}; tried again"
            )
        return [error] * len(handed)

    async def skip(self, partition: int, start: int, stop: int, reason: str, epoch: int) -> int:
        """Move the partition over [start, stop)."""
        lost = partition, start, stop, reason, epoch, self._feed
        return await call(self._ray, self._owner(partition), ShardProcess.skip, *lost)

    async def durable(self) -> Mapping[int, int]:
        """The offset covered by snapshots, of each partition whose shard answers."""
        return await self._ask_owners(self._owners, ShardProcess.durable)

    def observe_ends(self, ends: Mapping[int, int]) -> None:
        """Tell the owners, in the background, one message at a time; the newest counts.

        Who feeds arms behind the front says nothing: what it heard last may be older than what the
        front's reader did.
        """
        if self._feed is Feed.BEHIND:
            return
        self._ends |= ends
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_ends())

    async def _tell_ends(self) -> None:
        while self._ends:
            told = self._ends
            self._ends = {}
            by_owner: dict[str, dict[int, int]] = {}
            for partition, end in told.items():
                if owner := self._owners.get(partition):
                    by_owner.setdefault(owner, {})[partition] = end
            await asyncio.gather(*(self._tell(*each) for each in by_owner.items()))
            await asyncio.sleep(TELL_S)

    async def _tell(self, owner: str, ends: Mapping[int, int]) -> None:
        try:
            await call(self._ray, owner, ShardProcess.observe_ends, ends, timeout_s=END_CALL_S)
        except EchoRankError as error:  # its successor is told again, by the lane of the new epoch
            log.warning("%s", error)
        except Exception:
            # nobody awaits this: it would end in silence, and the other owners would not be told
            log.exception(
                "%s cannot be told where its partitions end; it is told again with the next clicks",
                owner,
            )

    async def _ask_owners(
        self,
        partitions: Iterable[int],
        method: Callable[[ShardProcess, *Ts], Coroutine[Any, Any, Mapping[int, int]]],
        *args: *Ts,
    ) -> dict[int, int]:
        """What each partition's own shard says of it; another may hold it in another role."""
        owners = {
            partition: self._owners[partition]
            for partition in partitions
            if partition in self._owners
        }
        asked = sorted(set(owners.values()))
        calls = (call(self._ray, owner, method, *args, timeout_s=BATCH_CALL_S) for owner in asked)
        answers: dict[int, int] = {}
        for owner, answer in zip(
            asked, await asyncio.gather(*calls, return_exceptions=True), strict=True
        ):
            if isinstance(answer, ShardUnavailable):
                log.warning("%s", answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers |= {
                    partition: at
                    for partition, at in answer.items()
                    if owners.get(partition) == owner
                }
        return answers

    def _owner(self, partition: int) -> str:
        if partition not in self._owners:
            raise NotOwner(f"partition {partition} has no registered owner yet; ask again")
        return self._owners[partition]


async def _persistently(ask: Callable[[], Awaitable[R]]) -> R:
    """Ask until there is an answer, or an error that does not pass."""
    # a full disk is no reason to end: it may be mended
    tries = Tries(BACKOFF, asyncio.get_running_loop().time, also=(SnapshotError,))
    while True:
        try:
            return await ask()
        except EchoRankError as error:
            wait_s = tries.failed(error)
            log.warning("%s; asked again in %.1f s", error, wait_s)
            await asyncio.sleep(wait_s)
