"""Each unusable record's letter once, whatever is read again: for a new arm,
a changed model, a restored state.

Below which offset all letters of a partition are written is a fact about the dead-letter topic and
not about any state. So it is kept beside that topic: as marks, which outlive processes, arms and
models.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from actors.clicks.click import ClickBatch
from actors.clicks.dead_letter import DeadLetter, DeadLetters
from actors.errors import BrokerUnavailable

log = logging.getLogger(__name__)

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
        self._loaded = False
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Learn the marks, once. Without them reading goes on,
        as letters twice are better than none.
        """
        if self._loaded:
            return
        try:
            self._below = dict(await asyncio.to_thread(self._marks.load))
        except BrokerUnavailable as error:
            log.error(
                (
                    "below which offsets dead letters are written is not known, some may come "
                    "twice: %s"
                ),
                error,
            )
        self._loaded = True

    def read_from(self, partition: int, position: int) -> int:
        """Where to read on for a state that is at `position`."""
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

    def _save(self, below: Mapping[int, int]) -> None:
        self._marks.save(dict(below), self._on_error)
