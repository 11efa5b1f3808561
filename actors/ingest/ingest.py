"""Clicks from Kafka to the shards that own them.

Ingest remembers nothing that matters: the shard says which offset comes next, and reading continues
there. A batch covers the offsets between two positions of the reader, because offsets have holes
and counts say nothing.

Each partition runs in a lane of its own, so one shard that is down, slow or restoring never holds
up the partitions of the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actors.backoff import Backoff, Tries
from actors.clicks.click import ClickBatch
from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetter, DeadLetters
from actors.clock import Clock
from actors.errors import (
    EchoRankError,
    OffsetOutOfRange,
    OtherLog,
    ShardUnavailable,
)
from actors.ingest.lane import Lane, state_alone
from actors.ingest.lettering import Lettering
from actors.ingest.lost_offsets import LostOffsets
from actors.ingest.ports import ClickHistory, ClickLog, LogEnds, ShardPort, Slice
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

Decoded = tuple[ClickBatch, list[DeadLetter]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """How patient ingest is."""

    commits: bool = True  # write what is durable to the log, for lag tools
    commit_interval_s: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)
    # how long a slow shard may delay the others' next poll, once a batch
    apply_patience_s: float = 0.1
    # from one round's start to the next: a few clicks at a time cost as much as hundreds
    round_s: float = 0.01
    round_full: int = 500  # clicks; a round of so many is followed at once
    # between reminders of where the log ends: a shard that hears none calls itself stale
    tell_ends_s: float = 1.0
    # seconds of rest for each second of work, for a reader that others are to go before
    rest: float = 0.0
    # how long lost offsets wait for an archive that has not reached their end
    history_patience_s: float = 120.0


class Ingest:
    """Polls, decodes and applies; one for any number of partitions and shards.

    Not thread-safe: call everything from one event loop. `click_log` blocks, so it polls in a
    worker thread, one call at a time. Where the log has lost offsets that a state needs, they are
    taken from `history`. `ends` says where partitions end, of those about whom there is news: a
    lane that stands still reads nothing and would not know. A reader without `dead_letters` drops
    what is unusable: another one reads the same and writes letters.
    """

    def __init__(
        self,
        click_log: ClickLog,
        dead_letters: DeadLetters | None,
        decoder: Decoder,
        shards: ShardPort,
        metrics: Metrics,
        clock: Clock,
        settings: IngestSettings,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        history: ClickHistory | None = None,
        ends: LogEnds = dict,
    ) -> None:
        self._log = click_log
        self._decoder = decoder
        self._shards = shards
        self._letters = Lettering(dead_letters, self._commit_failed) if dead_letters else None
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._wait = wait
        self._ends = ends
        self._lost = LostOffsets(shards, history, clock, settings.history_patience_s)
        self._lanes: dict[int, Lane] = {}
        self._epochs: dict[int, int] = {}
        self._durable: asyncio.Future[Mapping[int, int]] | None = None
        self._commit_at = clock.monotonic() + settings.commit_interval_s
        self._tell_at = clock.monotonic()

    def assign(self, epochs: Mapping[int, int]) -> None:
        """Take over exactly these partitions,
        each with its owner's epoch, from the next round on.
        """
        self._epochs = dict(epochs)

    def lags(self) -> dict[int, int | None]:
        """Records between what is applied and the end of the log; None until both are known."""
        return {partition: lane.lag() for partition, lane in self._lanes.items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; wait longer after each failure of the broker in a row.

        Raises:
            EchoRankError: a round failed for a reason that does not pass.
        """
        tries = Tries(self._settings.backoff, self._clock.monotonic)
        while not stop.is_set():
            started = self._clock.monotonic()
            try:
                clicks = await self.run_once()
                tries.worked()
                if (pause_s := self._pause_s(clicks, self._clock.monotonic() - started)) > 0:
                    await self._wait(pause_s)
            except EchoRankError as error:
                wait_s = tries.failed(error)
                log.warning("reading clicks failed %d times in a row: %s", tries.failures, error)
                self._metrics.ingest_retries_total.labels(type(error).__name__).inc()
                await self._wait(wait_s)

    def _pause_s(self, clicks: int, took_s: float) -> float:
        """How long to wait after a round."""
        early_s = self._settings.round_s - took_s if 0 < clicks < self._settings.round_full else 0.0
        return max(early_s, took_s * self._settings.rest if clicks else 0.0)

    async def run_once(self) -> int:
        """One round: poll, decode, dead-letter, apply; the number of clicks handed to shards.

        Raises:
            BrokerUnavailable: the poll failed; nothing was handed over.
        """
        await self._follow_assignment()
        if self._letters and await self._letters.load():
            for lane in self._lanes.values():
                lane.look_back()
        self._settle()
        self._ask_where_to_go_on()
        slices = await self._poll()
        self._refuse_other_logs()
        decoded = self._decode(slices)
        await self._hand_over(decoded)
        self._settle()
        self._report_ends()
        self._commit_durable()
        return sum(len(batch) for batch, _ in decoded)

    async def close(self) -> None:
        """Leave every partition."""
        if self._letters:
            self._letters.close(self._lanes)
        self._epochs = {}
        await self._follow_assignment()
        if self._durable is not None:
            self._durable.cancel()
            await asyncio.gather(self._durable, return_exceptions=True)

    async def _follow_assignment(self) -> None:
        current = {partition: lane.epoch for partition, lane in self._lanes.items()}
        if current == self._epochs:
            return
        for partition, epoch in current.items():
            if self._epochs.get(partition) != epoch:
                await self._lanes.pop(partition).abandon()
            if partition not in self._epochs:
                self._metrics.ingest_lag_records.remove(partition)
        for partition in sorted(self._epochs.keys() - self._lanes.keys()):
            self._lanes[partition] = Lane(
                partition,
                self._epochs[partition],
                self._log,
                self._metrics,
                self._clock,
                self._settings.backoff,
                self._letters.read_from if self._letters else state_alone,
            )
        self._log.assign(self._lanes)

    def _settle(self) -> None:
        for lane in self._lanes.values():
            lane.settle()

    def _ask_where_to_go_on(self) -> None:
        for lane in self._lanes.values():
            if lane.idle:
                lane.start(self._position(lane.partition))

    async def _position(self, partition: int) -> int:
        positions = await self._shards.positions([partition])
        if partition not in positions:
            raise ShardUnavailable(
                f"the owner of partition {partition} does not say where to start; ask again"
            )
        return positions[partition]

    async def _poll(self) -> list[Slice]:
        try:
            return await asyncio.to_thread(self._log.poll)
        except OffsetOutOfRange as error:
            await self._pass_lost_offsets(self._lanes[error.partition], error)
        except OtherLog as error:
            log.error("%s", error)
            self._lanes[error.partition].back_off(error)
        return []

    async def _pass_lost_offsets(self, lane: Lane, error: OffsetOutOfRange) -> None:
        """Bring the state to the oldest offset the log still has, if that lies ahead;
        else stand still and say why.
        """
        earliest = await asyncio.to_thread(self._log.earliest, lane.partition)
        if self._letters and earliest > error.wanted:
            self._letters.lost(lane.partition, earliest)
        if earliest > error.wanted and lane.has(error.wanted):  # it was read for its letters alone
            lane.shut()
            lane.start(self._position(lane.partition))
        elif earliest > error.wanted:
            lane.shut()
            lane.start(self._lost.pass_over(lane.partition, error.wanted, earliest, lane.epoch))
        else:
            self._stand_still(lane, error)

    def _refuse_other_logs(self) -> None:
        for lane in self._lanes.values():
            if (position := lane.position_beyond_end()) is not None:
                self._stand_still(lane, OffsetOutOfRange(lane.partition, position))

    def _stand_still(self, lane: Lane, error: OffsetOutOfRange) -> None:
        log.error(
            "partition %d: the state holds every click below offset %d, but the log ends before "
            "that: the topic was made anew or cut off, and the state belongs to the old log. "
            "Point state.directory to an empty directory, or bring the old log back.",
            *(lane.partition, error.wanted),
        )
        lane.back_off(error)

    def _decode(self, slices: Iterable[Slice]) -> list[Decoded]:
        decoded = []
        for found in slices:
            decoded.append(
                self._decoder.decode_batch(found.partition, found.start, found.stop, found.records)
            )
            if self._letters:
                self._letters.ends(found.partition, self._log.highwater(found.partition))
        return decoded

    async def _hand_over(self, decoded: Iterable[Decoded]) -> None:
        """Apply to all shards at once; the lanes of those that outlast the
        patience are shut until they are done.
        """
        tasks: dict[asyncio.Task[int], Lane] = {}
        for batch, dead in decoded:
            lane = self._lanes[batch.partition]
            tasks[lane.start(self._deliver(lane, batch, dead), read=batch.stop)] = lane
        if tasks:
            _, slow = await asyncio.wait(tasks, timeout=self._settings.apply_patience_s)
            for task in slow:
                tasks[task].shut()

    async def _deliver(self, lane: Lane, batch: ClickBatch, dead: Sequence[DeadLetter]) -> int:
        """Make the batch's dead letters durable,
        and only then have it applied; where the shard goes on.
        """
        if self._letters:
            await self._letters.write(batch, dead)
        return await self._shards.deliver(batch, lane.epoch)

    def _report_ends(self) -> None:
        """Show lags and tell shards where the log ends,
        of lanes that stand still as well: new ends, and all again.
        """
        now = self._clock.monotonic()
        heard = self._ends()
        if again := now >= self._tell_at:
            self._tell_at = now + self._settings.tell_ends_s
        ends: dict[int, int] = {}
        for partition, lane in self._lanes.items():
            lane.hear(heard.get(partition))
            if (lag := lane.lag()) is not None:
                self._metrics.ingest_lag_records.labels(partition).set(lag)
            if (end := lane.end_to_tell(again=again)) is not None:
                ends[partition] = end
        if ends:
            self._shards.observe_ends(ends)

    def _commit_durable(self) -> None:
        """Commit what snapshots cover, for lag tools only:
        nothing is read from there; and what is lettered.
        """
        now = self._clock.monotonic()
        if self._settings.commits and self._durable is None and now >= self._commit_at:
            self._commit_at = now + self._settings.commit_interval_s
            if self._letters:
                self._letters.save(self._lanes)
            self._durable = asyncio.ensure_future(self._shards.durable())
        elif self._durable is not None and self._durable.done():
            task = self._durable
            self._durable = None
            try:
                offsets = task.result()
            except EchoRankError as error:
                self._commit_failed(error)
            else:
                self._log.commit(
                    {p: o for p, o in offsets.items() if p in self._lanes}, self._commit_failed
                )

    def _commit_failed(self, error: Exception) -> None:
        self._metrics.commit_failures_total.inc()
        log.warning(
            "offsets were not committed, so lag tools are behind; tried again soon: %s", error
        )
