"""A sink in memory, and an exposure log that writes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from actors.clicks.dead_letter import OutRecord, RecordSink
from actors.serve.exposure import ExposureLog
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb


@dataclass
class FakeSink:
    """Keeps what is written; waits while `gate` is closed, then raises each of `faults` once."""

    faults: list[Exception] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    written: list[tuple[str, OutRecord]] = field(default_factory=list)

    def write(self, topic: str, records: Sequence[OutRecord]) -> None:
        self.gate.wait(20)
        if self.faults:
            raise self.faults.pop(0)
        self.written.extend((topic, record) for record in records)

    def exposures(self) -> list[pb.Exposure]:
        """What was written, decoded."""
        return [pb.Exposure.FromString(record.value or b"") for _, record in self.written]


def exposure_log(
    sink: FakeSink,
    *,
    open_sink: Callable[[], RecordSink] | None = None,
    shut: bool = False,
    **options: Any,
) -> tuple[ExposureLog, Callable[[str], float]]:
    """A log that writes to `sink`, and its count of exposures of arm main by outcome."""
    if not shut:
        sink.gate.set()
    metrics = Metrics(CollectorRegistry())

    def count(outcome: str) -> float:
        labels = {"arm": "main", "outcome": outcome}
        return metrics.registry.get_sample_value("echorank_exposures_total", labels) or 0.0

    return ExposureLog(
        open_sink or (lambda: sink),
        topic="shown",
        metrics=metrics,
        **({"interval_s": 0.001} | options),
    ), count
