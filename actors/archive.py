"""Clicks from Kafka to Parquet files, with their ids as sent: for training, and for rebuilds beyond Kafka's retention.

The archive remembers nothing but its files: their names say which offset comes next in each partition, and reading
continues there. What was read and not yet written when the process dies is read again. Whatever cannot be applied is
not archived either (ingest dead-letters it).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from actors.archive_files import SCHEMA, ArchiveFiles
from actors.clock import Clock
from actors.codec import Decoder, Record
from actors.errors import ArchiveError, BadRecord, BrokerUnavailable, OffsetOutOfRange, OtherLog
from actors.ingest_ports import ClickLog, Slice
from actors.lane import Backoff
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollSettings:
    """When a file is complete: so many seconds after its first offset was read, or with so many clicks or a few more.

    At most `roll_records` clicks a partition, and one poll more, wait in memory.
    """

    roll_s: float = 60.0
    roll_records: int = 100_000
    backoff: Backoff = field(default_factory=lambda: Backoff(min_s=0.5, max_s=30.0))


@dataclass(slots=True, kw_only=True)
class Pending:
    """What of a partition is read and not written yet: the offsets [start, stop)."""

    start: int
    stop: int
    since: float = 0.0  # when the first of it was read, monotonic
    clicks: list[pa.RecordBatch] = field(default_factory=list)
    records: int = 0


class Archive:
    """Reads every partition of the clicks topic and writes what it finds.

    Not thread-safe: one call at a time, from any thread. `run_once` blocks for one poll and for writing.
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
    ) -> None:
        self._log, self._decoder, self._files, self._metrics = click_log, decoder, files, metrics
        self._clock, self._settings = clock, settings
        self._partitions = sorted(partitions)
        self._started = False
        self._pending: dict[int, Pending] = {}  # of each partition that is read
        self._compared: set[int] = set()  # partitions whose log was found to reach as far as the archive

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then write what is left; wait longer after each failure in a row."""
        failures = 0
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.run_once)
                failures = 0
            except (ArchiveError, BrokerUnavailable) as error:
                failures += 1
                self._failed(error, failures)
                await _until(stop, self._settings.backoff.after(failures))
        try:
            await asyncio.to_thread(self.flush)
        except ArchiveError as error:
            self._failed(error, failures + 1)

    def run_once(self) -> int:
        """One round: write what is due, poll, decode; the number of clicks read.

        Nothing is read while something cannot be written, so what waits in memory is bounded.

        Raises:
            ArchiveError: something due could not be written, or the archive not be listed; nothing is lost, try again.
            BrokerUnavailable: the poll failed; try again.
        """
        self._start()
        for partition, pending in self._pending.items():
            if self._is_due(pending):
                self._write(partition, pending)
        read = sum(self._take(found) for found in self._poll())
        self._look_at_ends()
        return read

    def flush(self) -> None:
        """Write everything that was read; ArchiveError if that fails."""
        for partition, pending in self._pending.items():
            self._write(partition, pending)

    def _start(self) -> None:
        """Find each partition's place in the log, once."""
        if self._started:
            return
        self._log.assign(self._partitions)
        ends = {partition: self._files.end(partition) for partition in self._partitions}
        starts = {p: self._log.earliest(p) if end is None else end for p, end in ends.items()}
        for partition, start in starts.items():
            self._go_on_at(partition, start)
            self._log.resume(partition)
        self._started = True

    def _go_on_at(self, partition: int, offset: int) -> None:
        self._pending[partition] = Pending(start=offset, stop=offset)
        self._log.seek(partition, offset)

    def _is_due(self, pending: Pending) -> bool:
        aged = self._clock.monotonic() >= pending.since + self._settings.roll_s
        return pending.stop > pending.start and (aged or pending.records >= self._settings.roll_records)

    def _write(self, partition: int, pending: Pending) -> None:
        if pending.stop == pending.start:
            return
        clicks = pa.Table.from_batches(pending.clicks, SCHEMA)
        self._files.write(partition, pending.start, pending.stop, clicks)
        self._pending[partition] = Pending(start=pending.stop, stop=pending.stop)
        self._metrics.archive_records_total.labels(partition).inc(pending.records)

    def _poll(self) -> list[Slice]:
        try:
            return self._log.poll()
        except OffsetOutOfRange as error:
            self._pass_lost_offsets(error)
        except OtherLog as error:
            self._write(error.partition, self._pending[error.partition])  # of the old log, which nobody can read again
            self._stand_still(error.partition)
        return []

    def _take(self, found: Slice) -> int:
        pending = self._pending[found.partition]
        assert found.start == pending.stop, "the log is read in order"
        if pending.stop == pending.start:
            pending.since = self._clock.monotonic()
        pending.stop = found.stop
        clicks = self._decode(found.records)
        pending.clicks.append(clicks)
        pending.records += len(clicks)
        return len(clicks)

    def _decode(self, records: Sequence[Record]) -> pa.RecordBatch:
        now_ms = self._clock.now_ms()
        rows: list[tuple[str, str, str, int, int, int]] = []
        for record in records:
            try:
                click = self._decoder.decode(record.value, record.key)
            except BadRecord:
                continue
            rows.append((*click, record.offset, record.timestamp if record.timestamp > 0 else now_ms))
        columns = zip(*rows, strict=True) if rows else [[]] * len(SCHEMA)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
        return pa.record_batch(arrays, schema=SCHEMA)

    def _pass_lost_offsets(self, error: OffsetOutOfRange) -> None:
        """Go on at the oldest offset the log still has, if that lies ahead; else stand still and say why."""
        partition = error.partition
        earliest = self._log.earliest(partition)
        if earliest <= error.wanted:
            self._stand_still(partition)
            return
        self._write(partition, self._pending[partition])
        log.error(
            "partition %d: the log has lost the offsets from %d to %d, which the archive does not hold; going on at "
            "%d. Keep the topic's retention longer than the archive may be down or unwritable.",
            *(partition, error.wanted, earliest - 1, earliest),
        )
        self._metrics.archive_failures_total.labels("lost_offsets").inc()
        self._go_on_at(partition, earliest)

    def _look_at_ends(self) -> None:
        """Report lags; leave a log that ends before its archive, which not every broker refuses to read."""
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
            "partition %d: the archive holds every click below offset %d, but the log ends before that: the topic was "
            "made anew or cut off, and the archive belongs to the old log. The partition is not archived any more; "
            "point archive.directory to an empty directory and start again.",
            *(partition, pending.start),
        )

    def _failed(self, error: ArchiveError | BrokerUnavailable, failures: int) -> None:
        reason = "unwritable" if isinstance(error, ArchiveError) else "broker"
        self._metrics.archive_failures_total.labels(reason).inc()
        log.error("archiving failed %d times in a row; nothing is lost as long as Kafka keeps it: %s", failures, error)


async def _until(stop: asyncio.Event, within_s: float) -> None:
    """Return when `stop` is set, or after so many seconds."""
    try:
        async with asyncio.timeout(within_s):
            await stop.wait()
    except TimeoutError:
        return
