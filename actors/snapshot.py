"""Snapshots: user states and the log position they reflect, together, on any pyarrow file system.

    ROOT/partition-00003/EPOCH-POSITION-ARM-CHECKSUM.arrow   one per arm: columns `user` and `state`
    ROOT/partition-00003/EPOCH-POSITION.manifest.json        written last; names a complete set of the above

Every file is written under a temporary name, synced (local file systems) and renamed, so a name that exists is
complete, and is never changed again: state files carry their checksum in the name. The order is by (epoch, position)
as in the names, never by modification time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

import pyarrow as pa
import xxhash
from pyarrow import fs

from actors import state_file
from actors.atomic_files import open_root, publish, sync
from actors.errors import SnapshotError
from actors.image import StateImage
from actors.index import Keys
from actors.manifest import Manifest, StateFile
from actors.state_file import HashingSink, SnapshotDamaged
from model.state import Rows

READ_BYTES = 8 << 20
NAME = re.compile(r"(?P<epoch>\d{12})-(?P<position>\d{19})(?P<rest>[-.].*)")
MANIFEST_END, TEMPORARY_END = ".manifest.json", ".tmp"


class Order(NamedTuple):
    """What decides which snapshot is newer."""

    epoch: int
    position: int


@dataclass(frozen=True, slots=True)
class Found:
    """The manifests of a partition, newest first, and those that cannot be read."""

    manifests: list[Manifest] = field(default_factory=list)
    damaged: list[SnapshotDamaged] = field(default_factory=list)


class SnapshotStore:
    """Saves, finds, verifies and retires the snapshots below `root`.

    Every method raises SnapshotError, naming path and cause, where the file system refuses.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str, kept: int) -> None:
        if kept < 1:
            raise ValueError(f"kept = {kept}: at least one snapshot must stay")
        self._filesystem, self._root, self._kept = filesystem, root.rstrip("/"), kept

    @classmethod
    def from_uri(cls, uri_or_path: str, kept: int) -> SnapshotStore:
        """Snapshots at a URI (file, s3, gs, hdfs, ...) or a plain path; the directory is made when first needed."""
        with _explained("use", uri_or_path):
            filesystem, root = open_root(uri_or_path)
        return cls(filesystem, root, kept)

    def save(self, partition: int, epoch: int, images: Iterable[StateImage]) -> Manifest:
        """Write one file an arm, then the manifest. An image is used up before the next is asked for."""
        directory = self._directory(partition)
        with _explained("make the directory", directory):
            self._filesystem.create_dir(directory, recursive=True)
            sync(self._filesystem, self._root)
        arms = {image.arm: self._write_states(directory, partition, epoch, image) for image in images}
        position = min(file.position for file in arms.values())
        manifest = Manifest(partition=partition, epoch=epoch, position=position, arms=arms)
        path = f"{directory}/{_stem(epoch, position)}{MANIFEST_END}"
        with _explained("write", path):
            with self._filesystem.open_output_stream(path + TEMPORARY_END) as stream:
                stream.write(manifest.to_json())
            publish(self._filesystem, path + TEMPORARY_END, path)
        return manifest

    def find(self, partition: int) -> Found:
        """Read all manifests of a partition."""
        found = Found()
        for name in sorted(self._names(partition), reverse=True):
            if not name.endswith(MANIFEST_END) or not NAME.fullmatch(name):
                continue
            path = f"{self._directory(partition)}/{name}"
            try:
                with self._filesystem.open_input_stream(path) as stream:
                    found.manifests.append(Manifest.from_json(stream.read()))
            except OSError as error:
                found.damaged.append(SnapshotDamaged("unreadable", path, error))
            except ValueError as error:
                found.damaged.append(SnapshotDamaged("manifest", path, error))
        return found

    def read(self, partition: int, file: StateFile) -> Iterator[tuple[Keys, Rows]]:
        """Verify a state file, then give its users and states in pieces, (n,) and (n, row_bytes).

        Raises:
            SnapshotDamaged: the file is missing, or not the one that was written.
        """
        path = f"{self._directory(partition)}/{file.name}"
        try:
            actual = self._checksum(path)
            if actual != file.xxh3:
                raise SnapshotDamaged("checksum", path, f"its checksum is {actual}, but {file.xxh3} was written")
            with self._filesystem.open_input_file(path) as stream, pa.ipc.open_file(stream) as reader:
                state_file.check_meaning(path, reader.schema.metadata or {}, file)
                for number in range(reader.num_record_batches):
                    yield state_file.columns(reader.get_batch(number))
        except FileNotFoundError as error:
            raise SnapshotDamaged("missing", path, error) from error
        except (OSError, pa.ArrowException) as error:
            raise SnapshotDamaged("unreadable", path, error) from error

    def retire(self, partition: int) -> int:
        """Delete what is older than the newest `kept` readable snapshots; the number of files deleted.

        Files of a newer epoch are never touched, so a shard that lost the partition cannot harm its new owner.
        """
        manifests = self.find(partition).manifests[: self._kept]
        if not manifests:
            return 0
        newest, oldest = _order(manifests[0]), _order(manifests[-1])
        retired = [name for name in self._names(partition) if _is_retired(name, oldest, newest)]
        for name in sorted(retired, key=lambda name: not name.endswith(MANIFEST_END)):  # manifests first
            path = f"{self._directory(partition)}/{name}"
            with _explained("delete", path):
                self._filesystem.delete_file(path)
        return len(retired)

    def _write_states(self, directory: str, partition: int, epoch: int, image: StateImage) -> StateFile:
        stem = f"{directory}/{_stem(epoch, image.position)}-{quote(image.arm, safe='')}"
        with _explained("write", temporary := stem + TEMPORARY_END):
            with self._filesystem.open_output_stream(temporary) as stream:
                sink = HashingSink(stream)
                state_file.write(sink, partition, image)
            name = f"{stem}-{sink.digest.hexdigest()}.arrow"
            publish(self._filesystem, temporary, name)
        return StateFile(
            name=name.rsplit("/", 1)[1],
            size_bytes=sink.size,
            xxh3=sink.digest.hexdigest(),
            model=image.model,
            schema_hash=image.schema,
            position=image.position,
            users=image.users,
        )

    def _checksum(self, path: str) -> str:
        digest = xxhash.xxh3_64()
        with self._filesystem.open_input_stream(path) as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _names(self, partition: int) -> list[str]:
        directory = self._directory(partition)
        with _explained("list", directory):
            selector = fs.FileSelector(directory, allow_not_found=True)
            return [info.base_name for info in self._filesystem.get_file_info(selector)]

    def _directory(self, partition: int) -> str:
        return f"{self._root}/partition-{partition:05d}"


def _stem(epoch: int, position: int) -> str:
    return f"{epoch:012d}-{position:019d}"


def _order(manifest: Manifest) -> Order:
    return Order(manifest.epoch, manifest.position)


def _is_retired(name: str, oldest: Order, newest: Order) -> bool:
    if not (parts := NAME.fullmatch(name)):
        return False  # not ours
    order = Order(int(parts["epoch"]), int(parts["position"]))
    return order < oldest or (name.endswith(TEMPORARY_END) and order <= newest)


@contextmanager
def _explained(action: str, path: str) -> Iterator[None]:
    """Turn whatever the file system raises into a SnapshotError with path and cause."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SnapshotError(
            f"cannot {action} {path}: {error!r}; check state.directory, its permissions and free space"
        ) from error
