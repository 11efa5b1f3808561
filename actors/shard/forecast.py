"""How long a restart would take: a forecast from what this process has measured so far."""

from __future__ import annotations

import threading

RESTORE_BYTES_PER_S = 300e6  # assumed until a restore was measured, on the slow side of local disks
REPLAY_EVENTS_PER_S = 50_000.0  # assumed until a replay was measured
# so little that the restore of a small partition outweighs it, and that of a few rows does not
ASSUMED_COUNTS_S = 0.05
BATCH_EVENTS_MIN = 256  # a replay comes in large batches; smaller ones are slower for each event


class RecoveryForecast:
    """Rates of restoring and of folding, and what follows from them; any thread may call."""

    def __init__(self) -> None:
        self._restoring = _Rate(RESTORE_BYTES_PER_S)
        self._folding = _Rate(REPLAY_EVENTS_PER_S)

    def restored(self, size_bytes: int, seconds: float) -> None:
        """Learn from one partition's restore."""
        self._restoring.add(size_bytes, seconds)

    def folded(self, events: int, seconds: float) -> None:
        """Learn from one batch that was folded into all arms."""
        if events >= BATCH_EVENTS_MIN:
            self._folding.add(events, seconds)

    def seconds(self, size_bytes: int, events: int) -> float:
        """What restoring so many bytes and then folding so many events would take."""
        return size_bytes / self._restoring.per_s + events / self._folding.per_s


class _Rate:
    """Amounts over seconds, newer ones counting more;
    the assumed rate counts as a moment of measuring.
    """

    def __init__(self, assumed_per_s: float) -> None:
        self._amount = assumed_per_s * ASSUMED_COUNTS_S
        self._seconds = ASSUMED_COUNTS_S
        self._lock = threading.Lock()

    @property
    def per_s(self) -> float:
        with self._lock:
            return self._amount / self._seconds

    def add(self, amount: float, seconds: float) -> None:
        if seconds <= 0:
            return  # shorter than the clock can tell
        with self._lock:
            keep = 0.5 ** (seconds / 60)  # what is a minute of measuring old counts half
            self._amount = self._amount * keep + amount
            self._seconds = self._seconds * keep + seconds
