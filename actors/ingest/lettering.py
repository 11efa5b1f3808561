"""Each unusable record's letter once, whatever is read again: for a new arm,
a changed model, a restored state.

Below which offset all letters of a partition are written is a fact about the dead-letter topic and
not about any state. So it is kept beside that topic: as marks, which outlive processes, arms and
models.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from actors.backoff import Backoff
from actors.clicks.click import ClickBatch
from actors.clicks.dead_letter import DeadLetter, DeadLetters
from actors.errors import BrokerUnavailable

log = logging.getLogger(__name__)

# between tries to learn the marks; while brokers are away nothing is read either
BACKOFF = Backoff(min_s=0.5, max_s=60.0)
REREAD_MAX = 100_000  # offsets that are read once more, for letters that nobody may have written


class Lettering:
    """Writes the dead letters of the batches of one reader,
    which goes on where the state does or the letters end.

    These two differ. A state that is rebuilt lies behind its letters: what is read again is not
    written again. A standby that becomes owner may be ahead of them, as nobody writes letters for
    standbys: the reader goes back.
    """

    def __init__(self, dead_letters: DeadLetters, on_error: Callable[[Exception], None]) -> None:
        self._dead_letters = dead_letters
        self._marks = dead_letters.marks
        self._on_error = on_error
        self._below: dict[int, int] = {}
        self._known = False
        self._asking: asyncio.Task[Mapping[int, int]] | None = None
        self._ask_at_s = -math.inf  # by the event loop's clock
        self._failures = 0
        self._writing = asyncio.Lock()

    async def load(self) -> bool:
        """Learn the marks; whether that is done just now. The first try is waited for.

        Until they are known reading goes on where the state does, and each letter that is met is
        written, as letters twice are better than none. They are asked for again beside it; once
        they are known, the reader goes back to them.
        """
        if self._known:
            return False
        now_s = asyncio.get_running_loop().time()
        if self._asking is None and now_s >= self._ask_at_s:
            self._asking = asyncio.create_task(asyncio.to_thread(self._marks.load))
            if not self._failures:
                await asyncio.wait([self._asking])
        if self._asking is None or not self._asking.done():
            return False
        try:
            self._below = dict(self._asking.result())
            self._known = True
        except BrokerUnavailable as error:
            self._failures += 1
            self._ask_at_s = asyncio.get_running_loop().time() + BACKOFF.after(self._failures)
            if self._failures == 1:
                log.error(
                    "below which offsets dead letters are written is not known yet, some may come "
                    "twice: %s",
                    error,
                )
        self._asking = None
        return self._known

    def read_from(self, partition: int, position: int) -> int:
        """Where to read on for a state that is at `position`."""
        if not self._known:
            return position
        if (below := self._below.get(partition)) is None or position - below > REREAD_MAX:
            if below is not None:
                log.error(
                    "partition %d: dead letters are known to be written below offset %d, the "
                    "state is at %d: too far to read again, so letters between these may be "
                    "missing",
                    *(partition, below, position),
                )
            below = self._below[partition] = position
            self._save({partition: below})
        return min(position, below)

    def lost(self, partition: int, earliest: int) -> None:
        """The log begins at `earliest`: nobody can write letters of what lay before."""
        if (below := self._below.get(partition)) is not None:
            self._below[partition] = max(below, earliest)

    def ends(self, partition: int, end: int | None) -> None:
        """The log ends at `end`. Letters beyond that were another log's,
        which had the name before or was cut off.
        """
        if end is not None and (below := self._below.get(partition, 0)) > end:
            log.warning(
                "partition %d: dead letters were written below offset %d of a log that ends at %d "
                "now; they are written from there on",
                partition,
                below,
                end,
            )
            self._below[partition] = end

    async def write(self, batch: ClickBatch, dead: Sequence[DeadLetter]) -> None:
        """Make those letters of the batch durable that are not yet; one batch's at a time.

        While their topic is away, each try lasts as long as a request may, in a thread.

        Raises:
            BrokerUnavailable: some may not be written; send all again.
        """
        below = self._below.get(batch.partition, batch.start)
        if letters := [letter for letter in dead if letter.offset >= below]:
            async with self._writing:
                await asyncio.to_thread(self._dead_letters.send, letters)
        if not self._known:
            return
        if batch.start <= below < batch.stop:
            self._below[batch.partition] = batch.stop
        if letters:
            self._save({batch.partition: batch.stop})

    def save(self, partitions: Iterable[int]) -> None:
        """Start to save the marks of these partitions: without letters they move,
        too, and what nobody renews ends.

        Others are another process's, and may have moved since they were loaded.
        """
        self._save(
            {
                partition: self._below[partition]
                for partition in partitions
                if partition in self._below
            }
        )

    def close(self, partitions: Iterable[int]) -> None:
        """Save their marks a last time, and ask for none any more."""
        self.save(partitions)
        if self._asking is not None:
            self._asking.cancel()

    def _save(self, below: Mapping[int, int]) -> None:
        self._marks.save(dict(below), self._on_error)
