"""Rows of one arm as a file: Arrow IPC, columns `user` and `state`,
their meaning in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from actors.errors import SnapshotError
from actors.snapshots.manifest import Chain, StateFile
from actors.state.image import StateImage
from model.arrays import Bytes, Keys

MAGIC_BYTES = 8  # before the first message of an Arrow file; from there on it reads like a stream
READ_BYTES = 8 << 20
MEANING = ("schema", "model", "position")


class SnapshotDamaged(SnapshotError):
    """A snapshot file is not what was written; `reason` is a short, countable code."""

    def __init__(self, reason: str, path: str, cause: object) -> None:
        super().__init__(
            f"snapshot file {path} is damaged ({reason}): {cause}; an older snapshot is used if "
            "there is one"
        )
        self.reason = reason
        self.path = path


class HashingSink:
    """Passes bytes on to a stream and hashes them on the way;
    as much of a file as Arrow's writer asks for.
    """

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.digest = xxhash.xxh3_64()
        self.size = 0

    def write(self, data: Any) -> int:
        """Pass `data` on; its length in bytes."""
        block = memoryview(data)
        self.digest.update(block)
        self._stream.write(block)
        self.size += block.nbytes
        return block.nbytes

    def flush(self) -> None:
        """Nothing to pass on before the stream is closed."""


class HashingSource:
    """Hashes a stream's bytes while Arrow reads them; as much of a file as its reader asks for.

    Gives `size` bytes and one more at most, so that a damaged length cannot ask for more memory
    than the file takes.
    """

    closed = False

    def __init__(self, stream: Any, size: int) -> None:
        self._stream = stream
        self.digest = xxhash.xxh3_64()
        self._left = size + 1
        self.refused = False

    def read(self, size: int) -> bytes:
        """The next bytes, `size` of them unless the file ends before."""
        self.refused = True
        block: bytes = self._stream.read(min(size, self._left))
        self.refused = False
        self.digest.update(block)
        self._left -= len(block)
        return block

    def drain(self) -> None:
        """Read, and hash, what is left."""
        while self.read(READ_BYTES):
            pass


def write(sink: HashingSink, partition: int, image: StateImage) -> int:
    """Write the whole file, a record batch for each piece of the image; the number of rows."""
    state = pa.binary(image.row_bytes)
    written = 0
    meaning = {"schema": image.schema, "model": image.model, "arm": image.arm}
    numbers = {"partition": str(partition), "position": str(image.position)}
    schema = pa.schema([("user", pa.uint64()), ("state", state)], metadata=meaning | numbers)
    with pa.ipc.new_file(sink, schema) as writer:
        for users, rows in image.pieces():
            # From buffers, which copies nothing, and does not import pandas, as pa.array would: a
            # second of processor.
            columns = [
                pa.Array.from_buffers(kind, len(users), [None, pa.py_buffer(values)])
                for kind, values in zip(schema.types, (users, rows), strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            written += len(users)
    return written


def read(
    source: HashingSource, path: str, chain: Chain, file: StateFile
) -> Iterator[tuple[Keys, Bytes]]:
    """Users (n,) and states (n, row_bytes), batch by batch as they were written;
    the checksum comes at the end.

    Raises:
        SnapshotDamaged: the file is not what was written. It may come after any number of batches,
            which are then to be thrown away.
        OSError: the file system does not give the bytes.
    """
    cause = None
    rows = 0
    try:
        source.read(MAGIC_BYTES)
        with pa.ipc.open_stream(source) as reader:
            cause = _other_meaning(reader.schema.metadata or {}, chain, file)
            for batch in reader:
                batch.validate()  # lengths against buffers: nothing outside of them is read
                rows += len(batch)
                yield _columns(batch)
    except (OSError, ValueError, pa.ArrowException) as error:
        if source.refused:
            raise
        cause = repr(error)  # the bytes make no sense
    source.drain()
    if (actual := source.digest.hexdigest()) != file.xxh3:
        raise SnapshotDamaged(
            "checksum", path, f"its checksum is {actual}, but {file.xxh3} was written"
        )
    if cause or rows != file.rows:
        raise SnapshotDamaged(
            "mismatch", path, cause or f"it has {rows} rows, but its manifest names {file.rows}"
        )


def _columns(batch: Any) -> tuple[Keys, Bytes]:
    """Users (n,) and states (n, row_bytes) of one record batch, without copying."""
    users, states = batch.columns
    width = states.type.byte_width
    start = states.offset * width
    rows = np.frombuffer(states.buffers()[1], dtype=np.uint8)[start : start + len(states) * width]
    # `to_numpy` would import pandas, while somebody waits for a restore.
    keys = np.frombuffer(users.buffers()[1], dtype=np.uint64)[
        users.offset : users.offset + len(users)
    ]
    return keys, rows.reshape(len(states), width)


def _other_meaning(metadata: dict[bytes, bytes], chain: Chain, file: StateFile) -> str | None:
    written = {name: metadata.get(name.encode(), b"").decode(errors="replace") for name in MEANING}
    named = {"schema": chain.schema_hash, "model": chain.model, "position": str(file.position)}
    return None if written == named else f"it holds {written}, but its manifest names {named}"
