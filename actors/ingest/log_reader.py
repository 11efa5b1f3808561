"""The clicks topic as a history: what Kafka still has of a partition, from an offset to another."""

from __future__ import annotations

from collections.abc import Iterator

from actors.clicks.click import ClickBatch
from actors.clicks.codec import Decoder
from actors.clock import Clock
from actors.errors import OffsetOutOfRange
from actors.ingest.ports import ClickLog, Gap, Slice

PATIENCE_S = 10.0


class LogReader:
    """A `ClickHistory` over a `ClickLog` that nobody else reads; for one thread.

    Decodes as ingest does, and leaves out what that dead-letters.
    """

    def __init__(self, click_log: ClickLog, decoder: Decoder, clock: Clock) -> None:
        self._log = click_log
        self._decoder = decoder
        self._clock = clock

    def end(self, partition: int) -> int | None:
        """The high watermark; None if the log does not tell it within `PATIENCE_S`."""
        self._begin(partition, self._log.earliest(partition))
        deadline_s = self._clock.monotonic() + PATIENCE_S
        while (
            end := self._log.highwater(partition)
        ) is None and self._clock.monotonic() < deadline_s:
            self._log.poll()
        return end

    def read(self, partition: int, start: int, stop: int) -> Iterator[ClickBatch | Gap]:
        """The offsets [start, stop) in order, without holes; what the log has lost is a gap.

        Ends before `stop` where the log gives no more for `PATIENCE_S`, as an open transaction
        makes it.

        Raises:
            BrokerUnavailable: reading failed.
        """
        at = start
        moved_s = self._clock.monotonic()
        self._begin(partition, at)
        while at < stop:
            try:
                found = self._log.poll()
            except OffsetOutOfRange:
                yield (gap := self._lost(partition, at, stop))
                at = gap.stop
                self._log.seek(partition, at)
                continue
            for piece in found:
                batch = self._decode(piece).before(stop)
                yield batch
                at = batch.stop
                moved_s = self._clock.monotonic()
            if not found and self._clock.monotonic() - moved_s > PATIENCE_S:
                return

    def _begin(self, partition: int, offset: int) -> None:
        self._log.assign([partition])
        self._log.seek(partition, offset)
        self._log.resume(partition)

    def _lost(self, partition: int, start: int, stop: int) -> Gap:
        """From `start` up to the oldest offset, or to `stop` where the log ends before `start`."""
        earliest = self._log.earliest(partition)
        if earliest <= start:
            return Gap(partition, start, stop, f"the log ends below offset {start}")
        return Gap(partition, start, min(earliest, stop), f"the log starts at offset {earliest}")

    def _decode(self, piece: Slice) -> ClickBatch:
        return self._decoder.decode_batch(piece.partition, piece.start, piece.stop, piece.records)[
            0
        ]
