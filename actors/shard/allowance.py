"""How often a shard may take snapshots: an interval apart,
and not more of a processor than a share of it.
"""

from __future__ import annotations


class SnapshotAllowance:
    """Decides when a partition is due: `interval_s` after the last attempt,
    once the time for it has been earned.

    Time earns `share_max` of itself as processor time for snapshots, of all the partitions of a
    shard together, as one thread takes them one by one. A snapshot may begin up to an interval
    before the ones before it are paid for, so that many small partitions are saved in one go; then
    the next waits, until on average no more than the share is spent. A snapshot that costs c
    seconds is followed by the next after c / share_max. (Apache Flink's minimum pause between
    checkpoints keeps the same thing from happening: a system that does nothing but save.)

    For one thread. Snapshots that somebody asked for neither wait nor count: an erasure that writes
    everything anew is no reason to leave others unsaved.
    """

    def __init__(self, interval_s: float, share_max: float) -> None:
        self._interval_s = interval_s
        self._share_max = share_max
        self._paid_s = float("-inf")  # the moment at which everything spent so far is paid for

    def is_due(self, attempted_s: float, now_s: float) -> bool:
        """Whether to save a partition at `now_s` that was last tried at
        `attempted_s`, successfully or not.
        """
        return now_s - attempted_s >= self._interval_s and self._paid_s <= now_s + self._interval_s

    def spend(self, started_s: float, processor_s: float) -> None:
        """Pay for a snapshot that began at `started_s`;
        what was not spent before is not saved up.
        """
        self._paid_s = max(self._paid_s, started_s) + processor_s / self._share_max
