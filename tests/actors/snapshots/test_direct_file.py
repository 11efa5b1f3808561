"""Files written past the cache hold what was written."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from actors.snapshots.direct_file import BUFFER_BYTES, DirectFile

SIZES = [0, 1, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES + 4096]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cut", [100_003, 1 << 20, 3 * BUFFER_BYTES])
def test_any_bytes_in_any_pieces_are_there(tmp_path: Path, size: int, cut: int) -> None:
    """However many bytes come in however large pieces,
    the file has these bytes, whatever it had before.
    """
    path = tmp_path / "file"
    path.write_bytes(b"older" * 100)
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    with DirectFile(str(path)) as file:
        lengths = [file.write(data[first : first + cut]) for first in range(0, size, cut)]
    assert sum(lengths) == size
    assert path.read_bytes() == data.tobytes()


@pytest.mark.parametrize("refused", ["open", "write"])
def test_a_file_system_without_direct_writes_gets_ordinary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Where the flag is refused, or taken and then the blocks are,
    the file is written all the same.
    """
    opened = os.open
    written = os.write
    flagged = set[int]()

    def fake_open(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT and refused == "open":
            raise OSError(22, "planted: no such flag")
        descriptor = opened(path, flags & ~os.O_DIRECT, mode)
        flagged.update([descriptor] if flags & os.O_DIRECT else [])
        return descriptor

    def fake_write(descriptor: int, data: memoryview) -> int:
        if descriptor in flagged:
            flagged.clear()
            raise OSError(22, "planted: no such blocks")
        return written(descriptor, data[: 1 << 20])  # a system may take less than it is given

    monkeypatch.setattr(os, "open", fake_open)
    monkeypatch.setattr(os, "write", fake_write)
    data = os.urandom(BUFFER_BYTES + 12_345)
    with DirectFile(str(tmp_path / "file")) as file:
        file.write(data)
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == data


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error() -> None:
    """What cannot be written is not lost silently,
    be it at the end or before, and the file is closed.
    """
    before = len(list(Path("/proc/self/fd").iterdir()))
    for size in (10, BUFFER_BYTES + 10):
        with pytest.raises(OSError, match="No space left"), DirectFile("/dev/full") as file:
            file.write(bytes(size))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nothing_is_written_after_an_error(tmp_path: Path) -> None:
    """Who fails while writing gets the own error, and the file ends where it was."""

    def fail() -> None:
        with DirectFile(str(tmp_path / "file")) as file:
            file.write(bytes(BUFFER_BYTES + 10))
            raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        fail()
    assert (tmp_path / "file").stat().st_size == BUFFER_BYTES


def test_no_cache_is_used(tmp_path: Path) -> None:
    """Of a file of whole buffers nothing is in the system's cache:
    reading without touching the disk finds nothing.
    """
    if not writes_past_the_cache(tmp_path / "probe"):
        pytest.skip(
            "the file system of the tests' directory does not write past the cache, or cannot tell"
        )
    path = tmp_path / "file"
    with DirectFile(str(path)) as file:
        file.write(bytes(2 * BUFFER_BYTES))
    assert not read_from_cache(path)


def writes_past_the_cache(path: Path) -> bool:
    """Whether the file system can: one that is a piece of memory refuses the flag,
    or takes it and means nothing.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        try:
            os.write(descriptor, mmap.mmap(-1, 4096))
        finally:
            os.close(descriptor)
        return not read_from_cache(path)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        return False


def read_from_cache(path: Path) -> bool:
    """Whether the file's first block can be read without touching the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(4096)], 0, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
