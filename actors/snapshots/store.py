"""Snapshots: user states and the log position they reflect, together, on any pyarrow file system.

A snapshot is a manifest and, for each arm, a chain of state files: all rows first, then the rows
that changed after the file before. Every file is written under a temporary name, synced (local file
systems) and renamed, so a name that exists is complete; state files carry their checksum in the
name and are never changed again. The manifest comes last. Names are in `actors.snapshots.names`,
what may be deleted in `actors.snapshots.retention`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash
from pyarrow import fs

from actors.errors import SnapshotError
from actors.files import OpenRoot, open_root, publish, sync
from actors.snapshots import names, retention, state_file
from actors.snapshots.direct_file import DirectFile
from actors.snapshots.manifest import Chain, Manifest, StateFile
from actors.snapshots.names import Order
from actors.snapshots.state_file import READ_BYTES, HashingSink, HashingSource, SnapshotDamaged
from actors.snapshots.tombstone_files import TombstoneFiles
from actors.state.image import StateImage
from model.arrays import Bytes, Keys
from model.credentials import shown


class Deleted(NamedTuple):
    """A file that is gone, and the xxh3 that it had."""

    name: str
    xxh3: str


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
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._kept = kept
        self.tombstones = TombstoneFiles(filesystem, self._root)

    @classmethod
    def from_uri(
        cls, uri_or_path: str, kept: int, open_root: OpenRoot = open_root
    ) -> SnapshotStore:
        """Snapshots at a URI (file, s3, gs, hdfs, ...) or a plain path;
        the directory is made when first needed.
        """
        with _explained("use", shown(uri_or_path)):
            filesystem, root = open_root(uri_or_path)
        return cls(filesystem, root, kept)

    def add(
        self, partition: int, epoch: int, image: StateImage, users: int, before: Chain | None
    ) -> Chain:
        """Write the image's rows as a file; the chain that ends with it.

        That is a new chain where the image is full, else `before` and the file, or `before` alone
        if nothing changed. The file counts only once a manifest names it. `users` is the arm's
        number of users.
        """
        assert image.full or before is not None, "changed rows mean nothing without the rows before"
        files = () if image.full or before is None else before.files
        if image.full or image.users:
            files = (*files, self._write_states(partition, epoch, image))
        return Chain(
            model=image.model,
            schema_hash=image.schema,
            position=image.position,
            users=users,
            files=files,
        )

    def seal(self, partition: int, epoch: int, arms: Mapping[str, Chain]) -> Manifest:
        """Write the manifest that makes the arms' chains a snapshot."""
        position = min(chain.position for chain in arms.values())
        manifest = Manifest(partition=partition, epoch=epoch, position=position, arms=dict(arms))
        path = self._path(partition, names.manifest(retention.order(manifest)))
        with _explained("write", path):
            with self._filesystem.open_output_stream(path + names.TEMPORARY_END) as stream:
                stream.write(manifest.to_json())
            publish(self._filesystem, path + names.TEMPORARY_END, path)
        return manifest

    def find(self, partition: int) -> Found:
        """Read all manifests of a partition."""
        found = Found()
        for name in sorted(self._names(partition), reverse=True):
            if not name.endswith(names.MANIFEST_END) or names.order(name) is None:
                continue
            path = self._path(partition, name)
            try:
                with self._filesystem.open_input_stream(path) as stream:
                    found.manifests.append(Manifest.from_json(stream.read()))
            except FileNotFoundError:
                continue  # retired just now, by who wrote a newer one
            except OSError as error:
                found.damaged.append(SnapshotDamaged("unreadable", path, error))
            except ValueError as error:
                found.damaged.append(SnapshotDamaged("manifest", path, error))
        return found

    def read(self, partition: int, chain: Chain, file: StateFile) -> Iterator[tuple[Keys, Bytes]]:
        """Users and states of one file of a chain in pieces, (n,) and (n, row_bytes).

        The file is read once: whether it is what was written shows at its end, so whoever uses the
        pieces must be able to drop them all.

        Raises:
            SnapshotDamaged: the file is missing, or not the one that was written.
        """
        path = self._path(partition, file.name)
        try:
            with self._filesystem.open_input_stream(path, buffer_size=READ_BYTES) as stream:
                yield from state_file.read(
                    HashingSource(stream, file.size_bytes), path, chain, file
                )
        except FileNotFoundError as error:
            raise SnapshotDamaged("missing", path, error) from error
        except OSError as error:
            raise SnapshotDamaged("unreadable", path, error) from error

    def has(self, partition: int, chain: Chain) -> bool:
        """Whether all files of the chain are there, in their sizes;
        `read` tells whether they are sound.
        """
        sizes = {info.base_name: info.size for info in self._listed(partition)}
        return all(sizes.get(file.name) == file.size_bytes for file in chain.files)

    def retire(self, partition: int, epoch: int) -> int:
        """Delete what `actors.snapshots.retention` says an owner under `epoch`
        may; the number of files deleted.
        """
        manifests = self.find(partition).manifests
        files = retention.retired(self._names(partition), manifests, self._kept, epoch)
        self._delete(partition, files)
        return len(files)

    def forget_older(self, partition: int, epoch: int) -> list[Deleted]:
        """Delete every file of a snapshot but the newest one's,
        so that rows erased before it are nowhere; which ones.

        Raises:
            SnapshotError: the newest snapshot is not of `epoch`, or one of its files is damaged:
                nothing is deleted.
        """
        manifests = self.find(partition).manifests
        if not manifests or manifests[0].epoch != epoch:
            newest = f"of epoch {manifests[0].epoch}" if manifests else "not there"
            raise SnapshotError(
                f"the newest snapshot in {names.directory(self._root, partition)} is {newest}, "
                f"not of epoch {epoch}; nothing is deleted: only who owns the partition and has "
                "just saved it may"
            )
        for chain in manifests[0].arms.values():
            for file in chain.files:
                for _ in self.read(partition, chain, file):
                    pass
        older = retention.all_but(self._names(partition), manifests[0])
        checksums = [self._checksum(self._path(partition, name)) for name in older]
        self._delete(partition, older)
        return [Deleted(name, checksum) for name, checksum in zip(older, checksums, strict=True)]

    def _write_states(self, partition: int, epoch: int, image: StateImage) -> StateFile:
        order = Order(epoch, image.position)
        temporary = self._path(partition, names.unfinished_states(order, image.arm))
        with _explained("write", temporary):
            self._filesystem.create_dir(names.directory(self._root, partition), recursive=True)
            sync(self._filesystem, self._root)
            with self._new_file(temporary) as stream:
                sink = HashingSink(stream)
                rows = state_file.write(sink, partition, image)
            name = names.states(order, image.arm, checksum := sink.digest.hexdigest())
            publish(self._filesystem, temporary, self._path(partition, name))
        return StateFile(
            name=name, size_bytes=sink.size, xxh3=checksum, rows=rows, position=image.position
        )

    def _new_file(self, path: str) -> Any:
        local = isinstance(self._filesystem, fs.LocalFileSystem)
        return DirectFile(path) if local else self._filesystem.open_output_stream(path)

    def _delete(self, partition: int, files: Iterable[str]) -> None:
        for name in files:
            path = self._path(partition, name)
            with _explained("delete", path), suppress(FileNotFoundError):
                # an owner before or after us was faster
                self._filesystem.delete_file(path)

    def _checksum(self, path: str) -> str:
        digest = xxhash.xxh3_64()
        with _explained("read", path), self._filesystem.open_input_stream(path) as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _names(self, partition: int) -> list[str]:
        return [info.base_name for info in self._listed(partition)]

    def _listed(self, partition: int) -> list[fs.FileInfo]:
        directory = names.directory(self._root, partition)
        with _explained("list", directory):
            found: list[fs.FileInfo] = self._filesystem.get_file_info(
                fs.FileSelector(directory, allow_not_found=True)
            )
            return found

    def _path(self, partition: int, name: str) -> str:
        return f"{names.directory(self._root, partition)}/{name}"


@contextmanager
def _explained(action: str, path: str) -> Iterator[None]:
    """Turn whatever the file system raises into a SnapshotError with path and cause."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SnapshotError(
            f"cannot {action} {path}: {shown(repr(error))}; check state.directory, its "
            "permissions and free space"
        ) from error
