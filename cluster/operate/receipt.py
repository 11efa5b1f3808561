"""The receipt of an erasure, as it grows: one entry a place, whatever had to be done twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.archive.erasure import ErasedRows
from actors.shard.erasure import ErasedStates
from actors.shard.roles import Role
from actors.snapshots.store import Deleted
from rpc import echorank_pb2 as pb

PLACES = {Role.OWNER: "state", Role.STANDBY: "standby"}
COLD = (
    "was on disk; the free pages of that scratch file may hold its bytes until they are reused "
    "or the shard restarts"
)
ARCHIVE = "archive/"
CLEAN = "no arm's state, no snapshot, no tombstone and no archive file named the user"
SAVED = (
    "all users of the partition were saved anew without this one, and every older file was deleted"
)


class PartitionReceipt:
    """What was removed from one partition: from where the user is at home,
    or from where records were misplaced.
    """

    def __init__(self, user_key: int, partition: int, *, is_home: bool) -> None:
        self.user_key = user_key
        self.partition = partition
        self.is_home = is_home
        self.until = 0
        self._prefix = "" if is_home else f"partition-{partition}/"
        self._places: dict[str, pb.ErasedPlace] = {}

    def states(self, role: Role, shard: str, erased: ErasedStates) -> None:
        """A replica forgot the user."""
        if erased.tombstone:
            name = erased.tombstone.rpartition("/")[2]
            self._add(
                f"{self._prefix}tombstone/{name}", note=f"clicks below {erased.until} are void"
            )
        for arm in erased.arms:
            note = f"{shard}: {COLD}" if arm.cold else shard
            self._add(
                f"{self._prefix}{PLACES[role]}/{arm.arm}", int(arm.removed), arm.digest, note=note
            )

    def snapshots(self, deleted: Iterable[Deleted]) -> None:
        """The owner saved the partition anew and deleted these files."""
        self._add(f"{self._prefix}snapshots", note=SAVED)
        for file in deleted:
            self._add(f"{self._prefix}snapshots/{file.name}", 1, file.xxh3)

    def archived(self, erased: ErasedRows) -> None:
        """A file of the archive was rewritten."""
        name = erased.path[erased.path.find("partition=") :]
        self._add(f"{ARCHIVE}{name}", erased.rows, erased.digest_before, erased.digest_after)

    def summary(self) -> str:
        """What was done, in words."""
        done = [f"{place.place} ({place.removed} removed)" for place in self._places.values()]
        return f"below offset {self.until}: {', '.join(done)}" if done else "nothing"

    @property
    def found(self) -> bool:
        """Whether anything was done here."""
        return bool(self._places)

    def places(self) -> list[pb.ErasedPlace]:
        """One entry a place, or one that says that there was nothing."""
        if self._places or self.is_home:
            return [*self._places.values()]
        return [
            pb.ErasedPlace(
                place=f"partition-{self.partition}", note=f"{CLEAN}, below offset {self.until}"
            )
        ]

    def _add(
        self, name: str, removed: int = 0, before: str = "", after: str = "", *, note: str = ""
    ) -> None:
        place = self._places.setdefault(name, pb.ErasedPlace(place=name, digest_before=before))
        place.removed += removed
        place.digest_before = place.digest_before or before
        place.digest_after = after
        place.note = place.note if place.removed and not removed else note


class Receipt:
    """What was removed where. The user is named by key alone; the home of the user comes first."""

    def __init__(self, user_key: int, partition: int, time_ms: int) -> None:
        self.user_key = user_key
        self.partition = partition
        self._time_ms = time_ms
        self._parts: list[PartitionReceipt] = []

    def begin(self, partition: int) -> PartitionReceipt:
        """The part of a partition that comes next."""
        self._parts.append(
            PartitionReceipt(self.user_key, partition, is_home=partition == self.partition)
        )
        return self._parts[-1]

    def summary(self) -> str:
        """What was done, in words."""
        done = [part for part in self._parts if part.found or part is self._parts[-1]]
        return "; ".join(f"partition {part.partition}: {part.summary()}" for part in done)

    def to_proto(self, remains: Sequence[pb.ErasedPlace]) -> pb.EraseReceipt:
        """The whole, with the places that remain."""
        places = [place for part in self._parts for place in part.places()]
        if not any(place.place.startswith(ARCHIVE) for place in places):
            places.append(
                pb.ErasedPlace(
                    place="archive", note="no file of any partition held a click of the user"
                )
            )
        return pb.EraseReceipt(
            user_key=self.user_key,
            partition=self.partition,
            until=next((part.until for part in self._parts if part.is_home), 0),
            time_ms=self._time_ms,
            places=[*places, *remains],
        )
