"""The exposure log: what was answered to whom,
written to a topic beside the answers and never in their way.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from actors.calls.interceptor import Context
from actors.clicks.dead_letter import OutRecord, RecordSink
from actors.errors import EchoRankError, InvalidRequest, RecordsRefused
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb

PROPENSITY_METADATA = "x-echorank-propensity"

log = logging.getLogger(__name__)


def propensity_of(context: Context) -> float:
    """The chance of the arm as the caller's metadata gives it, in (0, 1]; 1 without any."""
    given = dict(context.invocation_metadata() or ()).get(PROPENSITY_METADATA)
    if given is None:
        return 1.0
    try:
        propensity = float(given)
    except ValueError:
        propensity = 0.0
    if not 0 < propensity <= 1:
        raise InvalidRequest(
            PROPENSITY_METADATA,
            f"metadata {PROPENSITY_METADATA} is {given!r}; send the chance that this user got "
            "this arm, above 0 and at most 1, or leave it out for 1",
        )
    return propensity


class ExposureLog:
    """Writes exposures to `topic` from a thread of its own,
    keyed by user; never again after a failure.

    They wait for `interval_s` to be written together, in at most `waiting_bytes_max` bytes. One
    that finds no room there, is longer than `bytes_max` or that the broker does not acknowledge is
    dropped and counted. The sink is opened by the thread as well, so a shard starts and answers
    without a broker.
    """

    def __init__(
        self,
        open_sink: Callable[[], RecordSink],
        *,
        topic: str,
        metrics: Metrics,
        interval_s: float = 0.1,
        waiting_bytes_max: int = 32 << 20,
        bytes_max: int = 1_000_000,
    ) -> None:
        self._open_sink = open_sink
        self._topic = topic
        self._metrics = metrics
        self._interval_s = interval_s
        self._waiting_bytes_max = waiting_bytes_max
        self._bytes_max = bytes_max
        self._sink: RecordSink | None = None
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, OutRecord]] = []
        self._waiting_bytes = 0
        self._open = True
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    def log(self, exposure: pb.Exposure) -> None:
        """Take `exposure` to be written later, or drop and count it; returns at once."""
        value = exposure.SerializeToString()
        record = OutRecord(key=exposure.user.encode(), value=value, headers=())
        with self._lock:
            fits = (
                len(value) <= self._bytes_max
                and self._waiting_bytes + len(value) <= self._waiting_bytes_max
            )
            if taken := self._open and fits:
                self._waiting.append((exposure.arm, record))
                self._waiting_bytes += len(value)
        if not taken:
            self._count(exposure.arm, "dropped")

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s` seconds;
        drop and count the rest and all that comes later.
        """
        self._closing.set()
        self._thread.join(timeout_s)
        with self._lock:
            self._open = False
        for arm, _ in self._take():
            self._count(arm, "dropped")

    def _run(self) -> None:
        while not self._closing.wait(self._interval_s):
            self._write(self._take())
        self._write(self._take())

    def _take(self) -> list[tuple[str, OutRecord]]:
        with self._lock:
            taken = self._waiting
            self._waiting = []
            self._waiting_bytes = 0
        return taken

    def _write(self, batch: list[tuple[str, OutRecord]]) -> None:
        if not batch:
            return
        try:
            self._sink = self._sink or self._open_sink()
            batch = self._taken(self._sink, batch)
        except Exception as error:
            if not self._failing:  # said once until it works again; the metric goes on counting
                unexpected = None if isinstance(error, EchoRankError) else error
                log.warning("exposures are dropped from now on: %s", error, exc_info=unexpected)
            self._failing = True
            outcome = "dropped"
        else:
            if self._failing:
                log.info("exposures are written again")
            self._failing = False
            outcome = "written"
        for arm, count in Counter(arm for arm, _ in batch).items():
            self._count(arm, outcome, count)

    def _taken(
        self, sink: RecordSink, batch: list[tuple[str, OutRecord]]
    ) -> list[tuple[str, OutRecord]]:
        """Write them; those that the broker took, the others dropped."""
        try:
            sink.write(self._topic, [record for _, record in batch])
        except RecordsRefused as error:
            for at in error.refused:
                self._count(batch[at][0], "dropped")
            return [exposure for at, exposure in enumerate(batch) if at not in error.refused]
        return batch

    def _count(self, arm: str, outcome: str, count: int = 1) -> None:
        self._metrics.exposures_total.labels(arm, outcome).inc(count)
