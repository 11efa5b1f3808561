"""The coordinator's memory: the routing table and the run it belongs to, in one JSON file beside the snapshots."""

from __future__ import annotations

import json
from typing import NamedTuple

import pyarrow as pa

from actors.atomic_files import open_root, publish
from actors.errors import SnapshotError
from cluster.routing import RoutingTable

NAME = "assignment.json"


class Saved(NamedTuple):
    """A table, and the run of the system that published it."""

    run: str
    table: RoutingTable


class AssignmentFile:
    """One file that is replaced as a whole; what is read is always a table that was written completely."""

    def __init__(self, directory: str) -> None:
        self._filesystem, self._root = open_root(directory)
        self.path = f"{self._root}/{NAME}"

    def load(self) -> Saved | None:
        """What was saved last; None if nothing ever was.

        Raises:
            SnapshotError: the file cannot be read or is no assignment.
        """
        try:
            with self._filesystem.open_input_stream(self.path) as stream:
                values = json.loads(stream.read())
            return Saved(values["run"], RoutingTable.from_json(json.dumps(values["table"])))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot read the assignment {self.path}: {error!r}; restore it, or delete it to assign all "
                "partitions anew (epochs then start again, so delete the snapshots beside it too)"
            ) from error

    def save(self, saved: Saved) -> None:
        """Replace the file; SnapshotError if that fails, with the old content still there."""
        text = json.dumps({"run": saved.run, "table": json.loads(saved.table.to_json())}, indent=1)
        temporary = f"{self.path}.tmp"
        try:
            self._filesystem.create_dir(self._root, recursive=True)
            with self._filesystem.open_output_stream(temporary) as stream:
                stream.write(text.encode())
            publish(self._filesystem, temporary, self.path)
        except (OSError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot write the assignment {self.path}: {error!r}; check state.directory, its permissions and "
                "free space"
            ) from error
