"""The memory of Ray's control store (`gcs_server`), where that runs on this machine.

Ray does not show it, no process of ours holds it, and all ends when it does: what grows there is
seen here.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from monitoring.metrics import Metrics

PROGRAM = "gcs_server"


class ControlStore:
    """The control store of one Ray session, found anew after a restart."""

    def __init__(self, session: str, proc: Path = Path("/proc")) -> None:
        self._session = session
        self._proc = proc
        self._pid: int | None = None

    def resident_bytes(self) -> float:
        """Its resident memory; NaN while it does not run here."""
        if self._pid is None or not self._is_it(self._pid):
            self._pid = next((pid for pid in self._pids() if self._is_it(pid)), None)
        if self._pid is None:
            return math.nan
        try:
            pages = int((self._proc / str(self._pid) / "statm").read_text().split()[1])
        except (OSError, IndexError):  # it has ended just now
            return math.nan
        return float(pages * os.sysconf("SC_PAGE_SIZE"))

    def export(self, metrics: Metrics) -> None:
        """Show it from now on; not at all if it runs elsewhere."""
        if not math.isnan(self.resident_bytes()):
            metrics.ray_control_store_bytes.labels(PROGRAM).set_function(self.resident_bytes)

    def _pids(self) -> list[int]:
        try:
            return [int(each.name) for each in self._proc.iterdir() if each.name.isdigit()]
        except OSError:  # a system without /proc
            return []

    def _is_it(self, pid: int) -> bool:
        try:
            words = (self._proc / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            return False
        return (
            Path(os.fsdecode(words[0])).name == PROGRAM
            and f"--session-name={self._session}".encode() in words
        )
