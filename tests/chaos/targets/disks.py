"""Two bad disks: one that can be filled up, and one on which every fsync takes long."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

SITE = Path(__file__).parent / "slow_fsync.py"
CHUNK = bytes(1 << 20)


class SmallDisk:
    """A tmpfs of its own, small enough to be filled;
    a plain directory where mounting is not allowed (`refused`).
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        path.mkdir()
        self.path = path
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.refused = (
                f"cannot mount a small file system: {done.stderr.strip()}"
                if done.returncode
                else None
            )
        except FileNotFoundError as error:
            self.refused = f"cannot mount a small file system: {error}"

    def fill(self) -> None:
        """Leave no byte free; OSError for anything but a full disk."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            for size in (len(CHUNK), 4096, 1):  # a write that fails may have been too large only
                try:
                    while filler.write(CHUNK[:size]):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give the space back."""
        (self.path / "filler").unlink()

    def close(self) -> None:
        """Unmount; whatever is still open there goes on until it is closed."""
        if self.refused is None:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)


class SlowDisk:
    """A folder for PYTHONPATH that can make fsync slow in every Python process started with it."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        shutil.copy(SITE, path / "sitecustomize.py")
        (path / "delay_s.armed").touch()

    def slow(self, delay_s: float) -> None:
        """From now on every fsync takes `delay_s` seconds longer."""
        written = self.path / "delay_s.tmp"
        written.write_text(str(delay_s))
        written.rename(self.path / "delay_s")

    def normal(self) -> None:
        """As fast as before."""
        (self.path / "delay_s").unlink()

    def delayed(self) -> int:
        """How many calls were delayed so far."""
        marks = self.path / "delayed"
        return marks.stat().st_size if marks.exists() else 0
