"""What the archive has read of a partition and not written yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from actors.archive.parquet import SCHEMA, Place
from actors.clicks.click import key

Row = tuple[str, str, str, int, int, int]  # a row of SCHEMA


@dataclass(slots=True, kw_only=True)
class Pending:
    """The offsets [start, stop) of a partition, in memory;
    `after` is where its files end (None: there are none).
    """

    partition: int
    start: int
    stop: int
    after: int | None
    since: float = 0.0  # when the first of it was read, monotonic
    first_ms: int | None = None  # the time of the first record in it
    clicks: list[pa.RecordBatch] = field(default_factory=list)
    records: int = 0
    nbytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether no offset was read; a range without clicks is not empty."""
        return self.stop == self.start

    @property
    def place(self) -> Place:
        """What the file's name will say."""
        return Place(self.partition, self.start, self.stop)

    def add(self, stop: int, rows: list[Row]) -> None:
        """Take the rows found up to `stop`."""
        if rows:
            columns = zip(SCHEMA.types, zip(*rows, strict=True), strict=True)
            arrays = [
                _texts(values) if kind == pa.string() else _numbers(values)
                for kind, values in columns
            ]
            self._keep(pa.record_batch(arrays, schema=SCHEMA))
        self.stop = stop

    def forget(self, user_key: int, until: int) -> int:
        """Drop a user's clicks below offset `until`; how many there were."""
        before = self.records
        held = self.clicks
        self.clicks = []
        self.records = 0
        self.nbytes = 0
        for clicks in held:
            rows = zip(clicks["user"].to_pylist(), clicks["offset"].to_pylist(), strict=True)
            self._keep(
                clicks.filter(
                    pa.array([key(user) != user_key or offset >= until for user, offset in rows])
                )
            )
        return before - self.records

    def table(self) -> pa.Table:
        """All of it."""
        return pa.Table.from_batches(self.clicks, SCHEMA)

    def _keep(self, clicks: pa.RecordBatch) -> None:
        if len(clicks):
            self.clicks.append(clicks)
            self.records += len(clicks)
            self.nbytes += clicks.nbytes


# From buffers, because pa.array imports pandas: a second of processor, just when processes start
# anew and others wait.
def _texts(values: Sequence[str]) -> pa.Array:
    encoded = [value.encode() for value in values]
    ends = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in encoded], out=ends[1:])
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    )


def _numbers(values: Sequence[int]) -> pa.Array:
    return pa.Array.from_buffers(
        pa.int64(), len(values), [None, pa.py_buffer(np.array(values, dtype=np.int64))]
    )
