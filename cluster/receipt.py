"""The receipt of an erasure, as it grows: one entry a place, whatever had to be done twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.archive_erasure import ErasedRows
from actors.erasure import ErasedStates
from actors.roles import Role
from actors.snapshot import Deleted
from rpc import echorank_pb2 as pb

PLACES = {Role.OWNER: "state", Role.STANDBY: "standby"}
COLD = "was on disk; the free pages of that scratch file may hold its bytes until they are reused or the shard restarts"
SAVED = "all users of the partition were saved anew without this one, and every older file was deleted"


class Receipt:
    """What was removed where. The user is named by key alone."""

    def __init__(self, user_key: int, partition: int, time_ms: int) -> None:
        self.user_key, self.partition, self.until = user_key, partition, 0
        self._time_ms = time_ms
        self._places: dict[str, pb.ErasedPlace] = {}

    def states(self, role: Role, shard: str, erased: ErasedStates) -> None:
        """A replica forgot the user."""
        if erased.tombstone:
            self._add(f"tombstone/{erased.tombstone.rpartition('/')[2]}", note=f"clicks below {erased.until} are void")
        for arm in erased.arms:
            note = f"{shard}: {COLD}" if arm.cold else shard
            self._add(f"{PLACES[role]}/{arm.arm}", int(arm.removed), arm.digest, note=note)

    def snapshots(self, deleted: Iterable[Deleted]) -> None:
        """The owner saved the partition anew and deleted these files."""
        self._add("snapshots", note=SAVED)
        for file in deleted:
            self._add(f"snapshots/{file.name}", 1, file.xxh3)

    def archived(self, erased: ErasedRows) -> None:
        """A file of the archive was rewritten."""
        name = erased.path[erased.path.find("partition=") :]
        self._add(f"archive/{name}", erased.rows, erased.digest_before, erased.digest_after)

    def summary(self) -> str:
        """What was done, in words."""
        done = [f"{place.place} ({place.removed} removed)" for place in self._places.values()]
        return f"below offset {self.until}: {', '.join(done)}" if done else "nothing"

    def to_proto(self, remains: Sequence[pb.ErasedPlace]) -> pb.EraseReceipt:
        """The whole, with the places that remain."""
        places = [*self._places.values()]
        if not any(place.place.startswith("archive/") for place in places):
            places.append(pb.ErasedPlace(place="archive", note="no file held a click of the user"))
        return pb.EraseReceipt(
            user_key=self.user_key,
            partition=self.partition,
            until=self.until,
            time_ms=self._time_ms,
            places=[*places, *remains],
        )

    def _add(self, name: str, removed: int = 0, before: str = "", after: str = "", *, note: str = "") -> None:
        place = self._places.setdefault(name, pb.ErasedPlace(place=name, digest_before=before))
        place.removed += removed
        place.digest_before = place.digest_before or before
        place.digest_after = after
        place.note = place.note if place.removed and not removed else note
