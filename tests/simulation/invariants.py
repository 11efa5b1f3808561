"""What must hold after every step, and at the end."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from actors.archive.files import NAME as ARCHIVE_NAME
from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.ingest.ports import Gap
from actors.shard.shard import Shard
from actors.snapshots import names as snapshot_names
from tests.simulation.clean import Clean
from tests.simulation.simulated.disk import Disk
from tests.simulation.simulated.kafka_log import SimTopic
from tests.simulation.simulated.loop import Process
from tests.simulation.simulated.trace import Violation

PARTITION = re.compile(r"/partition[-=](\d+)/")


class Invariants:
    """Watches everybody; every method raises Violation, or keeps quiet."""

    def __init__(self, clean: Clean, topic: SimTopic) -> None:
        self._clean = clean
        self._topic = topic
        self.shards: dict[Process, Shard] = {}
        self._moved: dict[tuple[Process, int, int], tuple[int, int]] = {}  # position, durable
        self._writers: dict[tuple[int, int], Process] = {}  # by partition and epoch
        self._covered: dict[int, int] = {}
        self.reads = 0

    def after_step(self, process: Process) -> None:
        """Positions only grow under one epoch, within the log;
        one process alone moves a partition under an epoch.
        """
        if (shard := self.shards.get(process)) is None:
            return
        for partition, held in shard._held.items():
            if held.stores is None:
                continue
            at = (process, partition, held.epoch)
            now = (held.position, held.durable)
            before = self._moved.get(at)
            if now == before:
                continue
            self._moved[at] = now
            position, durable = now
            what = (
                f"{process}, partition {partition}, epoch {held.epoch}: position {position}, "
                f"durable {durable}"
            )
            if durable > position:
                raise Violation(f"{what}: more is durable than applied")
            if position > self._topic.end(partition):
                raise Violation(f"{what}: beyond the log's end {self._topic.end(partition)}")
            if before is None:
                continue
            if position < before[0] or durable < before[1]:
                raise Violation(f"{what}: went back from {before}")
            if (
                position > before[0]
                and self._writers.setdefault((partition, held.epoch), process) is not process
            ):
                raise Violation(
                    f"{what}: {self._writers[partition, held.epoch]} applies under the same epoch"
                )

    def named(self, path: str) -> None:
        """A file got its final name: manifests cover offsets."""
        name = path.rsplit("/", 1)[1]
        found = PARTITION.search(path)
        if found is None:
            return
        partition = int(found[1])
        self._clean.tombstones.named(partition, name)
        if name.endswith(snapshot_names.MANIFEST_END) and (order := snapshot_names.order(name)):
            self._covered[partition] = max(self._covered.get(partition, 0), order.position)

    def committed(self, partition: int, offset: int) -> None:
        """Only what a complete snapshot covers may be committed."""
        if offset > (covered := self._covered.get(partition, 0)):
            raise Violation(
                f"partition {partition}: offset {offset} is committed, snapshots cover {covered}"
            )

    def read(self, partition: int, arm: str, user_key: int, offset: int, digest: str) -> None:
        """An answer is of the state that the clean run has at the same offset."""
        self.reads += 1
        expected = self._clean.state(partition, arm, user_key, offset)
        if digest not in (expected, *self._clean.erased(partition, arm, user_key, offset)):
            raise Violation(
                f"partition {partition}, arm {arm}, user {user_key:x}: read {digest or 'nothing'} "
                f"at offset {offset}, a clean run has {expected or 'nothing'}"
            )

    def final_states(self, partition: int, shard: Shard) -> None:
        """Every arm's states equal those of the clean run, byte for byte."""
        for arm, store in (shard._held[partition].stores or {}).items():
            if (digest := store.digest()) != (expected := self._clean.digest(partition, arm)):
                raise Violation(
                    f"{shard.shard_id}, partition {partition}, arm {arm}: {digest}, clean is "
                    f"{expected}"
                )

    def letters(self, partition: int, *, once: bool) -> None:
        """Each unusable record has a letter, unless the log lost it first; `once`: just one."""
        written = Counter(offset for at, offset in self._topic.letters if at == partition)
        unusable = self._clean.unusable[partition]
        start = self._topic.partitions[partition].start
        if missing := {offset for offset in unusable - written.keys() if offset >= start}:
            raise Violation(f"partition {partition}: no letter of {sorted(missing)}")
        if written.keys() - unusable or (once and max(written.values(), default=1) > 1):
            raise Violation(
                f"partition {partition}: letters {written}, unusable are {sorted(unusable)}"
            )

    def archive(self, partition: int, disk: Disk) -> None:
        """The archive gives the log's clicks, each of them once."""
        wanted = self._clean.kept(partition)
        reader = ArchiveReader(ArchiveFiles(disk, "archive", "judge"))
        pieces = list(reader.read(partition, 0, self._topic.partitions[partition].length))
        if gaps := [piece for piece in pieces if isinstance(piece, Gap)]:
            raise Violation(f"the archive has {gaps}")
        for name in ("offsets", "users", "items", "actions", "times_ms"):
            found = np.concatenate(
                [
                    np.empty(0, getattr(wanted, name).dtype),
                    *(getattr(each, name) for each in pieces),
                ]
            )
            if not np.array_equal(found, getattr(wanted, name)):
                raise Violation(
                    f"partition {partition}: {name} in the archive are {found.tolist()}"
                )

    def archived_to(self, partition: int, disk: Disk) -> int:
        """The end of the archive, which has no gaps up to there,
        as far as no loss of power can take it away.
        """
        reached = 0
        paths = [
            path for path in disk.paths(f"archive/partition={partition}/") if disk.is_safe(path)
        ]
        named = [
            parts for path in paths if (parts := ARCHIVE_NAME.fullmatch(path.rsplit("/", 1)[1]))
        ]
        for start, stop in sorted((int(parts["start"]), int(parts["stop"])) for parts in named):
            if start > reached:
                break
            reached = stop
        return reached
