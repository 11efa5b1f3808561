"""One partition on its way from the log to its shard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from actors.backoff import Backoff, is_retriable
from actors.clock import Clock
from actors.errors import ArchiveError, EchoRankError, OffsetGap, Overloaded
from actors.ingest.ports import ClickLog
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


ReadFrom = Callable[[int, int], int]  # partition, the state's position -> where to read on


def state_alone(_partition: int, position: int) -> int:
    """Read on where the state does."""
    return position


class Lane:
    """Reads (`open`), has one call at its shard (`task`),
    or waits for `retry_at` to ask where to go on.

    A lane that waits is paused in the log, so its records neither fill memory nor hold up other
    partitions.
    """

    def __init__(
        self,
        partition: int,
        epoch: int,
        click_log: ClickLog,
        metrics: Metrics,
        clock: Clock,
        backoff: Backoff,
        read_from: ReadFrom = state_alone,
    ) -> None:
        self.partition = partition
        self.epoch = epoch
        self._read_from = read_from
        self.task: asyncio.Task[int] | None = None  # ends with the shard's position
        self._log = click_log
        self._metrics = metrics
        self._clock = clock
        self._backoff = backoff
        self._applied: int | None = None  # the shard's position, as it last said
        self._heard: int | None = None  # the log's end, as somebody beside this reader heard it
        self._end: int | None = None  # the newest end that is known
        # the reader's position; None before the first seek and after a failure
        self._read: int | None = None
        self._open = False
        self._failures = 0  # since the shard's position last moved, or a batch last arrived
        self._retry_at = 0.0
        self._told_end: int | None = None
        self._compared = False  # position and end, since the lane opened

    @property
    def idle(self) -> bool:
        """Whether it is time to ask the shard where to go on."""
        return not self._open and self.task is None and self._retry_at <= self._clock.monotonic()

    def start(
        self, call: Coroutine[Any, Any, int], *, read: int | None = None
    ) -> asyncio.Task[int]:
        """Make one call to the shard; `read` is the reader's position
        after what the call hands over.
        """
        self._read = read
        self.task = asyncio.create_task(call)
        return self.task

    def settle(self) -> None:
        """Take up the result of a finished call."""
        if self.task is None or not self.task.done():
            return
        task = self.task
        self.task = None
        delivered = self._read is not None
        try:
            position = task.result()
        except OffsetGap as gap:
            if self._failures:
                self.back_off(gap)
            else:  # the first time, the shard's own word where to go on is as good as asking
                self._failures = 1
                self._count(gap)
                self._go_on_at(gap.expected)
        except EchoRankError as error:
            self.back_off(error)
        else:
            if delivered or position != self._applied:
                # a shard that only says where it stands helps nobody yet
                self._failures = 0
            self._go_on_at(position)

    def back_off(self, error: EchoRankError) -> None:
        """Stop reading for a while, longer with each failure in a row; as long
        as may be at once where the same call cannot succeed, as only a person can help.

        For the archive as well: it takes its time. A row is told of less and less often: at 1, 2,
        4, 8 ... failures.
        """
        self._failures += 1
        longest = isinstance(error, ArchiveError) or not is_retriable(error)
        delay_s = self._backoff.max_s if longest else self._backoff.after(self._failures)
        if isinstance(error, Overloaded):
            delay_s = max(delay_s, error.retry_after_s)
        self._retry_at = self._clock.monotonic() + delay_s
        self._read = self._told_end = None
        self.shut()
        self._count(error)
        seldom = self._failures & (self._failures - 1) == 0
        log.log(
            logging.WARNING if seldom else logging.DEBUG,
            "partition %d waits after %d failures in a row; next try in %.2f s: %r",
            *(self.partition, self._failures, delay_s, error),
        )

    def look_back(self) -> None:
        """Go where `read_from` says by now; a call at the shard ends with that anyway."""
        if self._open and self.task is None and self._applied is not None:
            self._go_on_at(self._applied)

    def shut(self) -> None:
        """Take no part in polls until the next result from the shard."""
        if self._open:
            self.end()  # known to the last, since nothing is fetched from now on
            self._log.pause(self.partition)
            self._open = False

    def hear(self, end: int | None) -> None:
        """Learn from beside where the log ends; None while nobody says so."""
        self._heard = end

    def end(self) -> int | None:
        """Where the log ends, as far as anybody knows,
        whether the lane reads or stands still; None at first.
        """
        read = self._log.highwater(self.partition) if self._open else None
        if read is not None or self._heard is not None:
            self._end = max(known for known in (read, self._heard) if known is not None)
        return self._end

    def end_to_tell(self, *, again: bool) -> int | None:
        """The log's end, if it changed since this was last asked;
        with `again` also if it was heard anew.
        """
        end = self.end()
        if end is None or (end == self._told_end and not (again and self._heard is not None)):
            return None
        self._told_end = end
        return end

    def position_beyond_end(self) -> int | None:
        """The shard's position if the log ends before it; compared once after the lane opens.

        Not every broker refuses to read beyond the end, and reading on once the log has grown would
        skip events.
        """
        end = self._log.highwater(self.partition) if self._open else None
        if end is None or self._applied is None or self._compared:
            return None
        self._compared = True
        return self._applied if end < self._applied else None

    def has(self, offset: int) -> bool:
        """Whether the state is beyond the offset."""
        return self._applied is not None and self._applied > offset

    def lag(self) -> int | None:
        """Records between what is applied and the log's end; None until both are known."""
        end = self.end()
        return None if end is None or self._applied is None else max(0, end - self._applied)

    async def abandon(self) -> None:
        """Leave the partition; what is at the shard is applied or not, and the next reader asks."""
        self.shut()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def _go_on_at(self, position: int) -> None:
        self._applied = position
        if self._read != (start := self._read_from(self.partition, position)):
            self._log.seek(self.partition, start)
            self._read = start
        if not self._open:
            self._log.resume(self.partition)
            self._open = True
            self._compared = False

    def _count(self, error: EchoRankError) -> None:
        self._metrics.ingest_retries_total.labels(type(error).__name__).inc()
