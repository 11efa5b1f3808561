"""A history in memory; faults are items in the list it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.clicks.click import ClickBatch
from actors.ingest.ports import Gap
from tests.actors.archived_clicks import table


@dataclass
class FakeHistory:
    """Holds some offsets of partition 0 up to `stop`, in batches; `faults` come first, one a call.

    One that is `short` ends at `stop` whatever is asked for, as a log does.
    """

    held: set[int]
    stop: int
    batch: int = 3
    faults: list[Exception | None] = field(default_factory=list)
    short: bool = False
    reason: str = "the archive has no file for it"

    def end(self, partition: int) -> int | None:
        self._fail()
        return self.stop or None

    def read(self, partition: int, start: int, stop: int) -> Iterator[ClickBatch | Gap]:
        self._fail()
        at = start
        stop = min(stop, self.stop) if self.short else stop
        while at < stop:
            there = at in self.held
            end = at + 1
            while (
                end < stop and (end in self.held) == there and (not there or end - at < self.batch)
            ):
                end += 1
            yield self._clicks(at, end) if there else Gap(partition, at, end, self.reason)
            at = end

    def _clicks(self, start: int, stop: int) -> ClickBatch:
        offsets = table(range(start, stop))["offset"].to_numpy()
        keys = offsets.astype("uint64")
        columns = {
            "users": keys,
            "items": keys,
            "actions": keys,
            "times_ms": offsets,
            "record_ms": offsets,
        }
        return ClickBatch(partition=0, start=start, stop=stop, offsets=offsets, **columns)

    def _fail(self) -> None:
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
