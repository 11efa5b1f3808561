"""The coordinator and the shards, as other processes see them:
calls over Ray with the errors of this project.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from actors.clicks.click import ClickBatch
from actors.errors import EchoRankError, NotOwner, ShardUnavailable, SnapshotError
from actors.shard.held import Fingerprint
from actors.shard.roles import Assignment, Feed, Report, Role
from cluster.coordinator.coordinator import Progress
from cluster.coordinator.routing import RoutingTable
from cluster.names import COORDINATOR
from monitoring.discovery import Target

log = logging.getLogger(__name__)

LONG_POLL_S = 20.0
CALL_S = 30.0  # a call that takes longer counts as failed; restoring a large partition may
HEARTBEAT_CALL_S = 1.0
# folding takes milliseconds, and what restores says so at once; ingest asks where to go on
BATCH_CALL_S = 5.0
END_CALL_S = 1.0
SNAPSHOT_CALL_S = 600.0
RETRY_S = 0.1
RETRY_MAX_S = 2.0
# between messages about high watermarks, which decide only how stale answers are called
TELL_S = 0.1


class Handed(NamedTuple):
    """A batch on its way to its owner."""

    batch: ClickBatch
    epoch: int
    answer: asyncio.Future[int]


async def call(
    actor: str, namespace: str, method: str, *args: Any, timeout_s: float = CALL_S
) -> Any:
    """One method of a named actor.

    Raises:
        EchoRankError: what the method raised.
        ShardUnavailable: the actor is not there, is restarting, does not answer in time, or has a
            defect.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await getattr(ray.get_actor(actor, namespace), method).remote(*args)
    except RayTaskError as error:
        if isinstance(error.cause, EchoRankError):
            raise error.cause from None
        log.exception("%s failed in %s", method, actor)
        raise ShardUnavailable(
            f"{actor} failed in {method}: {error.cause!r}; its log has the traceback"
        ) from error
    except (RayError, ValueError, TimeoutError) as error:
        # get_actor raises ValueError for an unknown name
        reason = (
            f"{type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else f'none in {timeout_s:g} s'}"
        )
        raise ShardUnavailable(
            f"{actor} does not answer {method} ({reason}); ask again, Ray restarts it"
        ) from error


class RemoteCoordinator:
    """The coordinator, asked again and again until it answers: it comes back,
    and nothing works without it.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def register(self, shard: str, address: str, target: Target, node: str) -> int:
        """The incarnation of the shard's process."""
        incarnation: int = await self._call("register", shard, address, target, node)
        return incarnation

    async def heartbeat(self, shard: str, report: Report) -> Assignment:
        """What the shard is to hold; asked once, for the next heartbeat says more."""
        arguments = COORDINATOR, self._namespace, "heartbeat", shard, report
        assignment: Assignment = await call(*arguments, timeout_s=HEARTBEAT_CALL_S)
        return assignment

    async def join(self, target: Target) -> None:
        """Show where this process has its metrics."""
        await self._call("join", target)

    async def scale(self, shards: int) -> Progress:
        """Ask for so many shards, once: who asked is there to ask again."""
        progress: Progress = await call(COORDINATOR, self._namespace, "scale", shards)
        return progress

    async def drain(self, shard: str) -> Progress:
        """Ask for an empty shard, once."""
        progress: Progress = await call(COORDINATOR, self._namespace, "drain", shard)
        return progress

    async def progress(self) -> Progress:
        """How far the shards are from what was asked for."""
        progress: Progress = await self._call("progress")
        return progress

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Hand every new routing table to `take`, for ever."""
        version = 0
        while True:
            table: RoutingTable = await self._call("wait_newer", version, LONG_POLL_S)
            if table.version > version:
                version = table.version
                await take(table)

    async def _call(self, method: str, *args: Any) -> Any:
        delay_s = RETRY_S
        while True:
            try:
                return await call(COORDINATOR, self._namespace, method, *args)
            except (ShardUnavailable, SnapshotError) as error:
                # a full disk is no reason to end: it may be mended
                log.warning("%s; asked again in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MAX_S)


class RemoteReplicas:
    """Shards by name, for operators."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def snapshot(self, shard: str, partitions: Sequence[int]) -> dict[int, int]:
        """Save partitions that the shard owns."""
        arguments = shard, self._namespace, "snapshot", partitions
        durable: dict[int, int] = await call(*arguments, timeout_s=SNAPSHOT_CALL_S)
        return durable

    async def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm."""
        found: dict[str, Fingerprint] = await call(
            shard, self._namespace, "fingerprints", partition
        )
        return found


class RemoteShards:
    """The shards that hold partitions in one role,
    addressed by partition: the `ShardPort` of ingest.
    """

    def __init__(self, namespace: str, role: Role = Role.OWNER, feed: Feed = Feed.FRONT) -> None:
        self._namespace = namespace
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
        return await self._ask_owners(partitions, "next_offsets", self._feed, epochs)

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
            outcomes: list[int | EchoRankError] = await call(
                owner, self._namespace, "apply_batches", batches, self._feed, timeout_s=BATCH_CALL_S
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
        position: int = await self._call(
            partition, "skip", partition, start, stop, reason, epoch, self._feed
        )
        return position

    async def durable(self) -> Mapping[int, int]:
        """The offset covered by snapshots, of each partition whose shard answers."""
        return await self._ask_owners(self._owners, "durable")

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
            await call(owner, self._namespace, "observe_ends", ends, timeout_s=END_CALL_S)
        except EchoRankError as error:  # its successor is told again, by the lane of the new epoch
            log.warning("%s", error)
        except Exception:
            # nobody awaits this: it would end in silence, and the other owners would not be told
            log.exception(
                "%s cannot be told where its partitions end; it is told again with the next clicks",
                owner,
            )

    async def _ask_owners(
        self, partitions: Sequence[int] | Mapping[int, Any], method: str, *args: Any
    ) -> dict[int, int]:
        """What each partition's own shard says of it; another may hold it in another role."""
        owners = {
            partition: self._owners[partition]
            for partition in partitions
            if partition in self._owners
        }
        asked = sorted(set(owners.values()))
        calls = (
            call(owner, self._namespace, method, *args, timeout_s=BATCH_CALL_S) for owner in asked
        )
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

    async def _call(self, partition: int, method: str, *args: Any) -> Any:
        return await call(self._owner(partition), self._namespace, method, *args)

    def _owner(self, partition: int) -> str:
        if partition not in self._owners:
            raise NotOwner(f"partition {partition} has no registered owner yet; ask again")
        return self._owners[partition]
