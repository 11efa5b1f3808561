"""An archive over a log in memory and a real directory, and what lies in that afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from pyarrow import parquet

from actors.archive.files import ArchiveFiles
from actors.archive.writer import Archive, Erased, RollSettings
from actors.backoff import Backoff
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from monitoring.metrics import Metrics
from tests.actors.click_log import sample
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog

QUICK = Backoff(min_s=0.001, max_s=0.002)


def paths(root: Path, partition: int = 0) -> list[Path]:
    """A partition's files, by their offsets."""
    return sorted(root.glob(f"partition={partition}/date=*/*.parquet"), key=lambda path: path.name)


def ranges(root: Path, partition: int = 0) -> list[tuple[int, int]]:
    """The offset ranges of a partition's files."""
    return [(int(path.stem[:19]), int(path.stem[20:])) for path in paths(root, partition)]


def offsets(root: Path, partition: int = 0) -> list[int]:
    """The offsets of a partition's clicks, in the order of files and rows."""
    read = (
        parquet.read_table(path, partitioning=None)["offset"] for path in paths(root, partition)
    )
    return [offset for column in read for offset in column.to_pylist()]


class Bench:
    """An archive over a fake log and a real directory; `again` is what a restart makes."""

    def __init__(
        self, root: Path, log: FakeLog, erased: Erased = lambda _: {}, **settings: Any
    ) -> None:
        self.root = root
        self.log = log
        self.settings = RollSettings(backoff=QUICK, **settings)
        self.erased = erased
        self.metrics = Metrics(CollectorRegistry())
        self.clock = ManualClock(NOW_MS)
        self.archive = self.again()

    def again(self) -> Archive:
        decoder = Decoder(EventFormat(), self.clock)
        files = ArchiveFiles.from_uri(str(self.root))
        self.archive = Archive(
            self.log,
            decoder,
            files,
            self.log.partitions,
            self.metrics,
            self.clock,
            self.settings,
            self.erased,
        )
        return self.archive

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.archive.run_once()

    def sample(self, name: str, **labels: str) -> float:
        return sample(self.metrics, name, **labels)
