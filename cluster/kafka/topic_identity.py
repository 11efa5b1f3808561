"""Which topic the states belong to, remembered beside the snapshots:
offsets mean nothing in another one.
"""

from __future__ import annotations

import json

import pyarrow as pa

from actors.errors import ConfigError, SnapshotError
from actors.files import OpenRoot, open_root, publish

NAME = "topic.json"


class TopicIdentity:
    """A small file in `state.directory` with the name and the id of the clicks topic.

    A topic that is deleted and made anew under its old name gets a new id. If it is longer than
    what the states hold, nothing else tells that it is another log.
    """

    def __init__(self, directory: str, open_root: OpenRoot = open_root) -> None:
        self._filesystem, self._root = open_root(directory)
        self.path = f"{self._root}/{NAME}"

    def load(self) -> str | None:
        """The remembered id; None if there is none.

        Raises:
            SnapshotError: the file cannot be read.
        """
        return (self._read() or {}).get("id")

    def confirm(self, topic: str, found: str | None) -> None:
        """Remember that the states belong to the topic with the id `found`, or check that they do.

        A broker without topic ids (`found` is None) confirms nothing and is refused nothing.

        Raises:
            ConfigError: the states belong to another topic.
            SnapshotError: the file cannot be read or written.
        """
        if found is None:
            return
        if (known := self._read()) is None:
            self._write({"topic": topic, "id": found})
        elif known["id"] != found:
            raise ConfigError(
                f"the states in {self._root} were folded from topic {known['topic']} with id "
                f"{known['id']}, but topic {topic} has id {found}: it is another log, or was "
                "deleted and made anew. Set state.directory and archive.directory to empty "
                "directories, or name the old topic; if this log does hold the same records at "
                f"the same offsets, delete {self.path}"
            )

    def _read(self) -> dict[str, str] | None:
        try:
            with self._filesystem.open_input_stream(self.path) as stream:
                values = json.loads(stream.read())
            return {"topic": str(values["topic"]), "id": str(values["id"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot read {self.path}, which says to which topic the states belong: "
                f"{error!r}; restore it, or delete it if you know that they belong to this one"
            ) from error

    def _write(self, values: dict[str, str]) -> None:
        temporary = f"{self.path}.tmp"
        try:
            self._filesystem.create_dir(self._root, recursive=True)
            with self._filesystem.open_output_stream(temporary) as stream:
                stream.write(json.dumps(values).encode())
            publish(self._filesystem, temporary, self.path)
        except (OSError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot write {self.path}: {error!r}; check state.directory, its permissions and "
                "free space"
            ) from error
