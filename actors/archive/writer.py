"""Clicks from Kafka to Parquet files, with their ids as sent: for training,
and for rebuilds beyond Kafka's retention.

The archive remembers nothing but its files: their names say which offset comes next in each
partition, and reading continues there. What was read and not yet written when the process dies is
read again. Whatever cannot be applied is not archived either (ingest dead-letters it), nor are
clicks of erased users.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from actors.archive.erasure import ErasedRows, erase
from actors.archive.files import ArchiveFiles, Overtaken
from actors.archive.pending import Pending, Row
from actors.backoff import Backoff, Tries
from actors.clicks.click import key
from actors.clicks.codec import Decoder
from actors.clock import Clock
from actors.errors import (
    ArchiveError,
    BadRecord,
    EchoRankError,
    OffsetOutOfRange,
    OtherLog,
    SnapshotError,
)
from actors.ingest.ports import ClickLog, Slice
from actors.locks import THREADS, Locks
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

# of a partition: user key -> the offset below which its clicks are erased
Erased = Callable[[int], Mapping[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollSettings:
    """When a file is complete: so many seconds after its first offset was read,
    or with so many clicks or bytes.

    At most `roll_records` clicks or `roll_bytes` bytes a partition, and one poll more, wait in
    memory.
    """

    roll_s: float = 60.0
    roll_records: int = 100_000
    roll_bytes: int = 32 << 20  # in memory; on disk a fifth of it or less
    backoff: Backoff = field(default_factory=lambda: Backoff(min_s=0.5, max_s=30.0))


class Archive:
    """Reads every partition of the clicks topic and writes what it finds.

    `run_once` blocks for one poll and for writing; `run_once`, `flush`, `forget` and `erase` may be
    called from any thread and wait for each other.
    """

    def __init__(
        self,
        click_log: ClickLog,
        decoder: Decoder,
        files: ArchiveFiles,
        partitions: Iterable[int],
        metrics: Metrics,
        clock: Clock,
        settings: RollSettings,
        erased: Erased = lambda _: {},
        locks: Locks = THREADS,
    ) -> None:
        self._log = click_log
        self._decoder = decoder
        self._files = files
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._find_erased = erased
        self._partitions = sorted(partitions)
        self._started = False
        self._working = locks.plain()
        self._pending: dict[int, Pending] = {}  # of each partition that is read
        self._erased: dict[int, dict[int, int]] = {partition: {} for partition in self._partitions}
        # partitions whose log was found to reach as far as the archive
        self._compared: set[int] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then write what is left;
        wait longer after each failure in a row.

        Raises:
            EchoRankError: a round failed for a reason that does not pass.
        """
        tries = Tries(self._settings.backoff, self._clock.monotonic)
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.run_once)
                tries.worked()
            except EchoRankError as error:
                wait_s = tries.failed(error)
                self._failed(error, tries.failures)
                await _until(stop, wait_s)
        try:
            await asyncio.to_thread(self.flush)
        except ArchiveError as error:
            self._failed(error, tries.failures + 1)

    def run_once(self) -> int:
        """One round: write what is due, poll, decode; the number of clicks read.

        Nothing is read while something cannot be written, so what waits in memory is bounded.

        Raises:
            ArchiveError: something due could not be written, or the archive not be listed; nothing
                is lost, try again.
            BrokerUnavailable: the poll failed; try again.
        """
        with self._working:
            self._start()
            self._write_all(
                [pending for pending in self._pending.values() if self._is_due(pending)]
            )
            read = sum(self._take(found) for found in self._poll())
            self._look_at_ends()
            return read

    def flush(self) -> None:
        """Write everything that was read; ArchiveError,
        once all partitions were tried, if one fails.
        """
        with self._working:
            self._write_all(list(self._pending.values()))

    def forget(self, partition: int, user_key: int, until: int) -> int:
        """Keep no click of the user below offset `until`,
        neither read nor still to come; the number dropped now.
        """
        with self._working:
            return self._forget(partition, user_key, until)

    def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        """`forget` the user, then rewrite the files that hold such clicks;
        ArchiveError if one cannot be: try again.
        """
        with self._working:
            self._forget(partition, user_key, until)
            return erase(self._files, partition, user_key, until)

    def _forget(self, partition: int, user_key: int, until: int) -> int:
        erased = self._erased[partition]
        erased[user_key] = max(until, erased.get(user_key, 0))
        pending = self._pending.get(partition)
        return pending.forget(user_key, until) if pending else 0

    def _learn_erased(self, partition: int) -> None:
        """Look tombstones up before each write:
        a process that was down or stopped may not have been told of one.
        """
        try:
            erased = self._find_erased(partition)
        except SnapshotError as error:
            raise ArchiveError(
                f"nothing is archived while erased users cannot be looked up: {error}"
            ) from error
        for user_key, until in erased.items():
            if until > self._erased[partition].get(user_key, 0):
                self._forget(partition, user_key, until)

    def _start(self) -> None:
        """Find each partition's place in the log, once."""
        if self._started:
            return
        self._log.assign(self._partitions)
        ends = {}
        for partition in self._partitions:
            self._files.tidy(partition)
            ends[partition] = self._files.end(partition)
        starts = {p: self._log.earliest(p) if end is None else end for p, end in ends.items()}
        for partition, start in starts.items():
            self._go_on_at(partition, start, ends[partition])
            self._log.resume(partition)
        self._started = True

    def _go_on_at(self, partition: int, offset: int, after: int | None) -> None:
        self._pending[partition] = Pending(
            partition=partition, start=offset, stop=offset, after=after
        )
        self._log.seek(partition, offset)

    def _is_due(self, pending: Pending) -> bool:
        if pending.empty:
            return False
        settings = self._settings
        age_s = self._clock.monotonic() - pending.since
        return (
            age_s >= settings.roll_s
            or pending.records >= settings.roll_records
            or pending.nbytes >= settings.roll_bytes
        )

    def _write_all(self, all_pending: list[Pending]) -> None:
        failure: ArchiveError | None = None
        for pending in all_pending:
            try:
                self._write(pending)
            except ArchiveError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _write(self, pending: Pending) -> None:
        """Publish what was read, or drop it where another archive has been faster."""
        if pending.empty:
            return
        self._learn_erased(pending.partition)
        place = pending.place
        date_ms = pending.first_ms or self._clock.now_ms()
        try:
            self._files.write(place, pending.table(), date_ms=date_ms, after=pending.after)
        except Overtaken as error:
            log.warning("%s", error)
            self._metrics.archive_failures_total.labels("overtaken").inc()
            start = self._log.earliest(place.partition) if error.end is None else error.end
            self._go_on_at(place.partition, start, error.end)
            return
        self._pending[place.partition] = Pending(
            partition=place.partition, start=place.stop, stop=place.stop, after=place.stop
        )
        self._metrics.archive_records_total.labels(place.partition).inc(pending.records)

    def _poll(self) -> list[Slice]:
        try:
            return self._log.poll()
        except OffsetOutOfRange as error:
            self._pass_lost_offsets(error)
        except OtherLog as error:
            # of the old log, which nobody can read again
            self._write(self._pending[error.partition])
            self._stand_still(error.partition)
        return []

    def _take(self, found: Slice) -> int:
        pending = self._pending[found.partition]
        assert found.start == pending.stop, "the log is read in order"
        if pending.empty:
            pending.since = self._clock.monotonic()
        if pending.first_ms is None:
            pending.first_ms = next(
                (record.timestamp for record in found.records if record.timestamp > 0), None
            )
        rows = self._decode(found)
        pending.add(found.stop, rows)
        return len(rows)

    def _decode(self, found: Slice) -> list[Row]:
        now_ms = self._clock.now_ms()
        erased = self._erased[found.partition]
        rows: list[Row] = []
        for record in found.records:
            try:
                click = self._decoder.decode_record(found.partition, record)
            except BadRecord:
                continue
            if not erased or record.offset >= erased.get(key(click.user), 0):
                rows.append(
                    (*click, record.offset, record.timestamp if record.timestamp > 0 else now_ms)
                )
        return rows

    def _pass_lost_offsets(self, error: OffsetOutOfRange) -> None:
        """Go on at the oldest offset the log still has, if that lies ahead;
        else stand still and say why.
        """
        partition = error.partition
        earliest = self._log.earliest(partition)
        if earliest <= error.wanted:
            self._stand_still(partition)
            return
        self._write(self._pending[partition])
        if self._pending[partition].stop != error.wanted:
            return  # another archive has written on, and reading goes on there
        log.error(
            "partition %d: the log has lost the offsets from %d to %d, which the archive does not "
            "hold; going on at %d. Keep the topic's retention longer than the archive may be down "
            "or unwritable.",
            *(partition, error.wanted, earliest - 1, earliest),
        )
        self._metrics.archive_failures_total.labels("lost_offsets").inc()
        self._go_on_at(partition, earliest, self._pending[partition].after)

    def _look_at_ends(self) -> None:
        """Report lags; leave a log that ends before its archive,
        which not every broker refuses to read.
        """
        for partition, pending in list(self._pending.items()):
            if (end := self._log.highwater(partition)) is None:
                continue
            if partition not in self._compared and end < pending.stop:
                self._stand_still(partition)
                continue
            self._compared.add(partition)
            self._metrics.archive_lag_records.labels(partition).set(max(0, end - pending.start))

    def _stand_still(self, partition: int) -> None:
        pending = self._pending.pop(partition)
        self._log.pause(partition)
        self._metrics.archive_failures_total.labels("other_log").inc()
        log.error(
            "partition %d: the archive holds every click below offset %d, but the log ends before "
            "that: the topic was made anew or cut off, and the archive belongs to the old log. "
            "The partition is not archived any more; point archive.directory to an empty "
            "directory and start again.",
            *(partition, pending.start),
        )

    def _failed(self, error: EchoRankError, failures: int) -> None:
        reason = "unwritable" if isinstance(error, ArchiveError) else "broker"
        self._metrics.archive_failures_total.labels(reason).inc()
        log.error(
            "archiving failed %d times in a row; nothing is lost as long as Kafka keeps it: %s",
            failures,
            error,
        )


async def _until(stop: asyncio.Event, within_s: float) -> None:
    """Return when `stop` is set, or after so many seconds."""
    try:
        async with asyncio.timeout(within_s):
            await stop.wait()
    except TimeoutError:
        return
