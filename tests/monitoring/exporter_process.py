"""One process with metrics, for the tests with a real Prometheus.

    python -m tests.monitoring.exporter_process KIND TARGETS USERS

Prints its address, counts one event for each of USERS users, and serves until its standard input
ends. KIND `gateway` also serves /sd from the file TARGETS: one line `kind name address` a process,
read anew at each request.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from monitoring.discovery import Target
from monitoring.exporter import Exporter
from monitoring.metrics import Metrics

PARTITIONS = 4


def targets(file: Path) -> list[Target]:
    """The processes that the file lists."""
    lines = [line.split() for line in file.read_text().splitlines()]
    return [Target(kind=kind, name=name, address=address) for kind, name, address in lines]  # type: ignore[arg-type]


def work(metrics: Metrics, users: int) -> None:
    """What an actor would count for one event and one score of each user."""
    metrics.arm_weight.labels("main").set(1)
    for user in range(users):
        partition = str(user % PARTITIONS)
        metrics.events_total.labels(partition, "applied").inc()
        metrics.ingest_lag_records.labels(partition).set(user // PARTITIONS)
        metrics.event_to_score_seconds.observe_many(np.array([0.02]))
        metrics.score_seconds.labels("main", "FULL").observe(0.004)
        metrics.requests_total.labels("Score", "OK").inc()


def main(kind: str, file: str, users: str) -> None:
    """Serve until standard input ends."""
    metrics = Metrics(CollectorRegistry())
    work(metrics, int(users))
    listed = (lambda: targets(Path(file))) if kind == "gateway" else None
    with Exporter(metrics.registry, targets=listed) as exporter:
        sys.stdout.write(f"{exporter.address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
