"""One arm's states as a file: Arrow IPC, columns `user` and `state`, their meaning in the metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from actors.errors import SnapshotError
from actors.image import StateImage
from actors.index import Keys
from actors.manifest import StateFile
from model.state import Rows


class SnapshotDamaged(SnapshotError):
    """A snapshot file is not what was written; `reason` is a short, countable code."""

    def __init__(self, reason: str, path: str, cause: object) -> None:
        super().__init__(
            f"snapshot file {path} is damaged ({reason}): {cause}; an older snapshot is used if there is one"
        )
        self.reason = reason


class HashingSink:
    """Passes bytes on to a stream and hashes them on the way; as much of a file as Arrow's writer asks for."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream, self.digest, self.size = stream, xxhash.xxh3_64(), 0

    def write(self, data: Any) -> int:
        """Pass `data` on; its length in bytes."""
        block = memoryview(data)
        self.digest.update(block)
        self._stream.write(block)
        self.size += block.nbytes
        return block.nbytes

    def flush(self) -> None:
        """Nothing to pass on before the stream is closed."""


def write(sink: HashingSink, partition: int, image: StateImage) -> None:
    """Write the whole file, a record batch for each piece of the image."""
    state = pa.binary(image.row_bytes)
    meaning = {"schema": image.schema, "model": image.model, "arm": image.arm}
    numbers = {"partition": str(partition), "position": str(image.position)}
    schema = pa.schema([("user", pa.uint64()), ("state", state)], metadata=meaning | numbers)
    with pa.ipc.new_file(sink, schema) as writer:
        for users, rows in image.pieces():
            states = pa.FixedSizeBinaryArray.from_buffers(state, len(users), [None, pa.py_buffer(rows)])
            writer.write_batch(pa.record_batch([pa.array(users), states], schema=schema))


def columns(batch: Any) -> tuple[Keys, Rows]:
    """Users (n,) and states (n, row_bytes) of one record batch, without copying."""
    states = batch.column("state")
    width = states.type.byte_width
    start = states.offset * width
    rows = np.frombuffer(states.buffers()[1], dtype=np.uint8)[start : start + len(states) * width]
    return batch.column("user").to_numpy(), rows.reshape(len(states), width)


def check_meaning(path: str, metadata: dict[bytes, bytes], file: StateFile) -> None:
    """Raise SnapshotDamaged unless the file says of itself what its manifest says of it."""
    written = {name: metadata.get(name.encode(), b"").decode() for name in ("schema", "model", "position")}
    if written != (named := {"schema": file.schema_hash, "model": file.model, "position": str(file.position)}):
        raise SnapshotDamaged("mismatch", path, f"it holds {written}, but its manifest names {named}")
