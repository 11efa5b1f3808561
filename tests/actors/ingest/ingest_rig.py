"""An ingest among fakes, driven round by round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from actors.backoff import Backoff
from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from actors.errors import (
    ShardUnavailable,
)
from actors.ingest.ingest import Ingest, IngestSettings
from actors.ingest.ports import LogEnds
from monitoring.metrics import Metrics
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog, FakeRecord, FakeShards, FakeSink, good

DOWN = ShardUnavailable("shard-1 is down")


@dataclass
class Rig:
    """An ingest among fakes."""

    ingest: Ingest
    log: FakeLog
    shards: FakeShards
    sink: FakeSink
    clock: ManualClock
    registry: CollectorRegistry
    waits: list[float]

    async def until(self, done: Callable[[], bool], step_s: float = 1.0) -> None:
        """Work until `done`; after 200 rounds it never will be."""
        for _ in range(200):
            if done():
                return
            await self.ingest.run_once()
            self.clock.advance(step_s)
        raise AssertionError(
            f"not done after 200 rounds: applied {self.shards.applied}, at {self.shards.at}"
        )

    def count(self, name: str, **labels: str) -> float:
        """A metric's value; 0 if it was never touched."""
        return self.registry.get_sample_value(f"echorank_{name}", labels) or 0.0


def rig(
    log: FakeLog,
    shards: FakeShards | None = None,
    sink: FakeSink | None = None,
    ends: LogEnds = dict,
) -> Rig:
    """An ingest that owns every partition of `log` under epoch 1."""
    shards = shards or FakeShards()
    sink = sink or FakeSink()
    clock = ManualClock(NOW_MS)
    registry = CollectorRegistry()
    sink.journal = shards.journal
    metrics = Metrics(registry)
    waits = list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    letters = DeadLetters(sink, topic="clicks.dlq", source_topic="clicks", metrics=metrics)
    patience = IngestSettings(
        commit_interval_s=5.0, backoff=Backoff(min_s=0.5, max_s=8.0), apply_patience_s=0.02
    )
    ingest = Ingest(
        log,
        letters,
        Decoder(EventFormat(), clock),
        shards,
        metrics,
        clock,
        patience,
        wait,
        ends=ends,
    )
    ingest.assign(dict.fromkeys(log.partitions, 1))
    return Rig(ingest, log, shards, sink, clock, registry, waits)


def clicks(count: int) -> list[FakeRecord | None]:
    """`count` valid clicks without holes."""
    return [good(offset) for offset in range(count)]
