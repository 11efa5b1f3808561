"""The archive's process dies, sleeps or meets a full disk at any step:
each offset is archived once all the same.
"""

from __future__ import annotations

import itertools

import pytest
from prometheus_client import CollectorRegistry

from actors.archive.check import overlaps, problem
from actors.archive.erasure import erase
from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive, RollSettings
from actors.clicks.click import Click, ClickBatch, key
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, encode
from actors.clock import ManualClock
from actors.errors import ArchiveError
from monitoring.metrics import Metrics
from tests.actors.faulty_fs import Crashed, Disk, FaultyFiles
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog, FakeRecord

COUNT = 20
ROLL = 5
names = itertools.count()


def click(offset: int) -> FakeRecord:
    """A click of anna at even offsets, of bert at odd ones."""
    name = "bert" if offset % 2 else "anna"
    return FakeRecord(
        offset, encode(Click(name, f"item-{offset}", "click", NOW_MS), EventFormat()), key=None
    )


def files_of(process: FaultyFiles) -> ArchiveFiles:
    """The archive as one process sees it."""
    return ArchiveFiles(process.filesystem(), "root", f"writer-{next(names)}")


def archive_of(process: FaultyFiles, per_poll: int = 5) -> Archive:
    """An archive of one partition in one process."""
    clock = ManualClock(NOW_MS)
    log = FakeLog({0: [click(at) for at in range(COUNT)]}, records_per_poll=per_poll)
    settings = RollSettings(roll_records=ROLL)
    metrics = Metrics(CollectorRegistry())
    return Archive(
        log, Decoder(EventFormat(), clock), files_of(process), [0], metrics, clock, settings
    )


def work(archive: Archive, rounds: int = 8) -> None:
    """Read and write everything."""
    for _ in range(rounds):
        archive.run_once()
    archive.flush()


def archived(disk: Disk) -> list[int]:
    """The offsets that a reader finds, after a check that every file is sound."""
    files = files_of(FaultyFiles(disk))
    assert [text for file in files.find(0) if (text := problem(files, file))] == []
    pieces = ArchiveReader(files).read(0, 0, COUNT)
    return [int(at) for piece in pieces if isinstance(piece, ClickBatch) for at in piece.offsets]


def overlapping(disk: Disk) -> list[tuple[int, int]]:
    """The ranges that more than one file has."""
    return list(overlaps(files_of(FaultyFiles(disk)).find(0)))


def operations() -> list[tuple[str, str]]:
    """Name and path of everything that archiving does to its disk."""
    seen: list[tuple[str, str]] = []
    work(archive_of(FaultyFiles(Disk(), on_operation=lambda name, path: seen.append((name, path)))))
    return seen


STEPS = operations()


@pytest.mark.parametrize(
    "step", range(1, len(STEPS) + 1), ids=lambda step: f"{step} {STEPS[step - 1][0]}"
)
def test_a_process_that_dies_at_any_step_leaves_no_trace(step: int) -> None:
    """The next one goes on; nothing overlaps, nothing is missing,
    nothing half-written is read or left behind.
    """
    disk = Disk()
    with pytest.raises(Crashed):
        work(archive_of(FaultyFiles(disk, crash_at=step)))
    work(archive_of(FaultyFiles(disk), per_poll=3))
    assert archived(disk) == list(range(COUNT))
    assert overlapping(disk) == []
    assert not [path for path in disk.files if ".unfinished" in path]


@pytest.mark.parametrize(
    "step", range(1, len(STEPS) + 1), ids=lambda step: f"{step} {STEPS[step - 1][0]}"
)
@pytest.mark.parametrize("rounds", [3, 8])
def test_a_process_that_sleeps_at_any_step_is_overtaken_harmlessly(step: int, rounds: int) -> None:
    """Its successor works meanwhile, then both go on: readers get each offset once.

    Files overlap only if the sleep falls between the look at the signature and the rename, and so
    into its own write.
    """
    disk = Disk()
    count = itertools.count(1)

    def overtake(name: str, path: str) -> None:
        if next(count) == step:
            successor = archive_of(FaultyFiles(disk), per_poll=7)
            for _ in range(rounds):
                successor.run_once()
            others.append(successor)

    others: list[Archive] = []
    sleeper = archive_of(FaultyFiles(disk, on_operation=overtake))
    for _ in range(30):
        for archive in (sleeper, *others):
            try:
                archive.run_once()
            except ArchiveError:
                continue  # its unfinished file was tidied away; it tries again
    for archive in (sleeper, *others):
        archive.flush()
    assert archived(disk) == list(range(COUNT))
    signed = [path.endswith(".writer") for _, path in STEPS[step - 1 : step]]
    renamed = STEPS[step - 1][0] == "move"
    if not (signed[0] or renamed or STEPS[step - 1][0] == "list"):
        assert overlapping(disk) == []


@pytest.mark.parametrize("step", range(1, 40))
def test_erasing_that_dies_at_any_step_can_be_done_again(step: int) -> None:
    """Every file is the old or the new one; the second try leaves no click of the user."""
    disk = Disk()
    work(archive_of(FaultyFiles(disk)))
    process = FaultyFiles(disk, crash_at=step)
    try:
        erase(files_of(process), 0, key("anna"), until=15)
    except Crashed:
        assert set(archived(disk)) >= {at for at in range(COUNT) if at % 2 or at >= 15}
    erase(files_of(FaultyFiles(disk)), 0, key("anna"), until=15)
    assert archived(disk) == [at for at in range(COUNT) if at % 2 or at >= 15]
    assert process.dead or step > process.operations


@pytest.mark.parametrize("room", [0, 100, 1500, 3000, 5000, 8000])
def test_a_full_disk_loses_nothing(room: int) -> None:
    """Writing fails with the path until there is room; what is there is whole."""
    disk = Disk(room)
    archive = archive_of(FaultyFiles(disk))
    for _ in range(3):
        with pytest.raises(
            ArchiveError, match=r"cannot write .*No space left on device.*free space"
        ):
            work(archive)
    before = archived(disk)
    assert before == list(range(len(before)))
    disk.room = None
    work(archive)
    assert archived(disk) == list(range(COUNT))


def test_a_read_only_disk_is_an_error_that_names_it() -> None:
    """Nothing is lost: once it can be written to, the archive goes on where it was."""
    disk = Disk()
    process = FaultyFiles(disk, read_only=True)
    archive = archive_of(process)
    archive.run_once()
    with pytest.raises(ArchiveError, match=r"Read-only file system.*check archive\.directory"):
        archive.run_once()
    process.read_only = False
    work(archive)
    assert archived(disk) == list(range(COUNT))
