"""The coordinator's memory: numbered, immutable JSON files beside the snapshots.

    ROOT/assignment-GENERATION-VERSION-TOKEN.json     the checksum of a ledger, and the ledger

The newest name counts. Each start of a coordinator is a generation; the token tells two starts of
one number apart. The files before the newest stay for a while, so that a damaged one does not stop
the system.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import xxhash
from pyarrow import fs

from actors.errors import SnapshotError, Superseded
from actors.files import OpenRoot, open_root, publish
from cluster.coordinator.ledger import Ledger

KEPT = 8
NAME = re.compile(
    r"assignment-(?P<generation>\d{6})-(?P<version>\d{12})-(?P<token>[0-9a-f]{8})\.json"
)
SNAPSHOT = re.compile(r".*/partition-\d{5}/(?P<epoch>\d{12})-.*")
EPOCHS_A_GENERATION = 1_000_000

log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where a file stands in the order."""

    generation: int
    version: int
    token: str


class AssignmentFiles:
    """Writes ledgers of one generation,
    and notices when another coordinator has begun a newer one.
    """

    def __init__(
        self,
        directory: str,
        open_root: OpenRoot = open_root,
        token: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self._filesystem, self._root = open_root(directory)
        self._token = token(4)
        self.generation = 0

    @property
    def first_epoch(self) -> int:
        """Epochs from here on are of this generation:
        two coordinators never give out the same one.
        """
        return self.generation * EPOCHS_A_GENERATION + 1

    def load(self) -> Ledger | None:
        """What was saved last, from now on under a generation of our own; None if nothing ever was.

        A damaged newest file is logged, and the one before it used: epochs grow beyond those of
        both all the same.

        Raises:
            SnapshotError: the directory cannot be read, or every file in it is damaged.
        """
        places = self._places()
        self.generation = 1 + max(
            (place.generation for place in places), default=self._generation_of_snapshots()
        )
        for place in reversed(places):
            try:
                return self._read(place)
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
                log.error(
                    "%s is damaged and the assignment before it is used: %r",
                    self._path(place),
                    error,
                )
        if places:
            raise SnapshotError(
                f"none of the {len(places)} assignments in {self._root} can be read, the newest "
                f"is {self._path(places[-1])}; bring one back, or delete them to assign all "
                "partitions anew (epochs go on beyond those of the snapshots)"
            )
        return None

    def save(self, ledger: Ledger) -> None:
        """Write the ledger under its table's version.

        Raises:
            Superseded: another coordinator has begun a generation of its own on this directory.
            SnapshotError: it could not be written; what was saved before is still there.
        """
        self._check_alone()
        values = ledger.to_values()
        text = json.dumps({"checksum": _checksum(values), "ledger": values}, indent=1)
        path = self._path(_Place(self.generation, ledger.table.version, self._token))
        temporary = f"{path}.tmp"
        try:
            self._filesystem.create_dir(self._root, recursive=True)
            with self._filesystem.open_output_stream(temporary) as stream:
                stream.write(text.encode())
            publish(self._filesystem, temporary, path)
        except (OSError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot write the assignment {path}: {error!r}; check state.directory, its "
                "permissions and free space"
            ) from error
        self._retire(self._check_alone())

    def _check_alone(self) -> list[_Place]:
        places = self._places()
        for place in places:
            if place.generation >= self.generation and place.token != self._token:
                raise Superseded(
                    f"another coordinator took over {self._root}: {self._path(place)} is of "
                    f"generation {place.generation}, this one is {self.generation} and ends. Two "
                    "systems must not share a state.directory: stop one of them, or give it a "
                    "directory of its own"
                )
        return places

    def _retire(self, places: list[_Place]) -> None:
        """Old files that stay cost nothing but space."""
        for place in places[:-KEPT]:
            try:
                self._filesystem.delete_file(self._path(place))
            except FileNotFoundError:
                continue  # whoever took over has retired it
            except (OSError, pa.ArrowException) as error:
                log.warning("%s stays for now: %r", self._path(place), error)

    def _read(self, place: _Place) -> Ledger:
        with self._filesystem.open_input_stream(self._path(place)) as stream:
            values = json.loads(stream.read())
        if (actual := _checksum(values["ledger"])) != values["checksum"]:
            raise ValueError(f"its checksum is {actual}, but {values['checksum']} was written")
        return Ledger.from_values(values["ledger"])

    def _places(self) -> list[_Place]:
        """What is there, oldest first."""
        found = (NAME.fullmatch(info.base_name) for info in self._list(recursive=False))
        return sorted(_Place(int(name[1]), int(name[2]), name[3]) for name in found if name)

    def _generation_of_snapshots(self) -> int:
        """The newest generation that left snapshots here; 0 without any."""
        names = (SNAPSHOT.fullmatch(info.path) for info in self._list(recursive=True))
        return max((int(name["epoch"]) for name in names if name), default=0) // EPOCHS_A_GENERATION

    def _list(self, *, recursive: bool) -> list[fs.FileInfo]:
        try:
            selector = fs.FileSelector(self._root, allow_not_found=True, recursive=recursive)
            found: list[fs.FileInfo] = self._filesystem.get_file_info(selector)
        except (OSError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot list the assignments in {self._root}: {error!r}; check state.directory "
                "and its permissions"
            ) from error
        return found

    def _path(self, place: _Place) -> str:
        name = f"assignment-{place.generation:06d}-{place.version:012d}-{place.token}.json"
        return f"{self._root}/{name}"


def _checksum(values: object) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(values, sort_keys=True).encode())
