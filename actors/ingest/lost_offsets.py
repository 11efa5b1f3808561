"""Offsets that the log lost before they were applied: filled from the archive,
skipped where that lacks them too.
"""

from __future__ import annotations

import asyncio
import logging

from actors.clicks.click import ClickBatch
from actors.clock import Clock
from actors.errors import ArchiveError
from actors.ingest.ports import ClickHistory, Gap, ShardPort

log = logging.getLogger(__name__)


class LostOffsets:
    """Brings a partition's state over a range that its log does not hold any more.

    The archive reads the same log and writes later, so what it lacks at its end may still come: it
    is waited for, up to `patience_s` seconds. A history that cannot be read is waited for without
    end, as skipping would lose what it has.
    """

    def __init__(
        self, shards: ShardPort, history: ClickHistory | None, clock: Clock, patience_s: float
    ) -> None:
        self._shards = shards
        self._history = history
        self._clock = clock
        self._patience_s = patience_s
        self._waiting: dict[int, float] = {}  # partition -> since when, monotonic

    async def pass_over(self, partition: int, start: int, stop: int, epoch: int) -> int:
        """Apply what is kept of [start, stop), skip the rest; the next offset to apply.

        Raises:
            ArchiveError: the archive cannot be read, or may still come to hold more of it; try
                again.
            EchoRankError: the shard refused; ask it where to go on.
        """
        if self._history is None:
            return await self._skip(Gap(partition, start, stop, "there is no archive"), epoch)
        await self._await_history(self._history, partition, start, stop)
        position = start
        filled = 0
        pieces = self._history.read(partition, start, stop)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            if isinstance(piece, ClickBatch):
                position = await self._shards.deliver(piece, epoch)
                filled += len(piece)
            elif piece.stop > position:
                missing = Gap(partition, max(position, piece.start), piece.stop, piece.reason)
                position = await self._skip(missing, epoch)
        log.warning(("partition %d: %d clicks of the offsets %d to %d, which the log has lost, "
                    "came from the archive"),
                    partition, filled, start, stop - 1)  # fmt: skip
        return position

    async def _await_history(
        self, history: ClickHistory, partition: int, start: int, stop: int
    ) -> None:
        end = await asyncio.to_thread(history.end, partition)
        now_s = self._clock.monotonic()
        since_s = self._waiting.setdefault(partition, now_s)
        if (end is None or end < stop) and now_s - since_s < self._patience_s:
            raise ArchiveError(
                f"partition {partition}: the log has lost the offsets from {start} to {stop - 1}, "
                f"and the archive ends at {end}: waiting for it, "
                f"{self._patience_s - (now_s - since_s):.0f} s more"
            )
        del self._waiting[partition]

    async def _skip(self, missing: Gap, epoch: int) -> int:
        log.error(
            "partition %d: the log has lost the offsets from %d to %d, which the state does not "
            "hold, and the archive lacks them too (%s); going on at %d. Keep the topic's "
            "retention longer than the age of snapshots, and the archive running.",
            *(missing.partition, missing.start, missing.stop - 1, missing.reason, missing.stop),
        )
        reason = f"the log starts above {missing.stop - 1}; {missing.reason}"
        return await self._shards.skip(
            missing.partition, missing.start, missing.stop, reason, epoch
        )
