"""Whose snapshots a directory holds: one file at its root, written once, read at every start.

    ROOT/deployment.json   namespace, topic, log

States and offsets of one log mean nothing in another, so a directory never changes hands.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import xxhash
from pyarrow import fs

from actors.errors import ConfigError, SnapshotError
from actors.files import OpenRoot, open_root, publish, sync
from model.credentials import shown

NAME = "deployment.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes a deployment's offsets mean something."""

    namespace: str
    topic: str
    # the Kafka cluster's id, or the run of a broker whose log ends with it; "" where neither is
    # known
    log: str

    def __str__(self) -> str:
        return f"namespace {self.namespace!r}, topic {self.topic!r}, log {self.log or 'unknown'!r}"

    def is_same(self, other: Identity) -> bool:
        """Whether nothing that both know differs."""
        logs = {self.log, other.log} - {""}
        return (self.namespace, self.topic) == (other.namespace, other.topic) and len(logs) < 2


def claim(uri_or_path: str, identity: Identity, open_root: OpenRoot = open_root) -> None:
    """Make sure that the snapshots in this directory are, or will be,
    of this deployment. The directory is made.

    Raises:
        ConfigError: another deployment has it.
        SnapshotError: it cannot be read or written, or is no directory.
    """
    try:
        filesystem, root = open_root(uri_or_path)
        _make(filesystem, root)
        path = f"{root}/{NAME}"
        found = _read(filesystem, path)
        if found is None or (found.is_same(identity) and identity.log and not found.log):
            _write(filesystem, path, identity)
            # whoever claimed it at the same time and wrote last has it
            found = _read(filesystem, path) or identity
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SnapshotError(
            f"state.directory {shown(uri_or_path)} cannot be used: {error!r}; it must be a "
            "directory that this process may write to, with free space: repair it, or name "
            "another one"
        ) from error
    if not found.is_same(identity):
        raise ConfigError(
            f"state.directory {shown(uri_or_path)} holds the states of another deployment "
            f"({found}), not of this one ({identity}); offsets of one log mean nothing in "
            "another: name a directory of its own for this deployment, or, if that one is gone "
            "for good, move its files away"
        )


def _make(filesystem: fs.FileSystem, root: str) -> None:
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.Directory:
        return
    if info.type == fs.FileType.File:
        raise NotADirectoryError(20, "it is a file", root)
    filesystem.create_dir(root, recursive=True)
    sync(filesystem, str(Path(root).parent))


def _read(filesystem: fs.FileSystem, path: str) -> Identity | None:
    try:
        with filesystem.open_input_stream(path) as stream:
            return Identity(**json.loads(stream.read()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise SnapshotError(
            f"{path} is damaged: {error}; it says whose states the directory holds. If they are "
            "this deployment's, delete the file, and the next start writes it anew"
        ) from error


def _write(filesystem: fs.FileSystem, path: str, identity: Identity) -> None:
    content = json.dumps(asdict(identity), indent=1).encode()
    # others who start now do not write to the same one
    temporary = f"{path}.{xxhash.xxh3_64_hexdigest(content)}.tmp"
    with filesystem.open_output_stream(temporary) as stream:
        stream.write(content)
    publish(filesystem, temporary, path)
