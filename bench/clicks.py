"""Clicks for a running system: a burst to fill user states, or a steady rate in the background.

As a process of its own, `python -m bench.clicks --bootstrap HOST:PORT`, it produces until SIGTERM
and then prints how many clicks a second it really sent.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable
from typing import Annotated

import numpy as np
import typer
from kafka import KafkaProducer

from rpc.events_pb2 import Click

TICK_S = 0.02


def produce(producer: KafkaProducer, topic: str, clicks: Iterable[Click]) -> dict[int, int]:
    """Send all, wait for the acknowledgements; the next offset of each partition written to."""
    sent = [
        producer.send(topic, key=click.user.encode(), value=click.SerializeToString())
        for click in clicks
    ]
    producer.flush()
    ends: dict[int, int] = {}
    for future in sent:
        record = future.get(timeout=30)
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    return ends


def click(random: np.random.Generator, users: int, items: int) -> Click:
    """One click now: any user, items by Zipf's law."""
    item = min(int(random.zipf(1.2)), items) - 1
    return Click(
        user=f"user-{random.integers(users)}",
        item=f"item-{item}",
        time_ms=int(time.time() * 1000),
        action="click",
    )


def main(
    bootstrap: Annotated[str, typer.Option(help="Kafka's bootstrap servers.")],
    topic: Annotated[str, typer.Option(help="Topic to write to.")] = "clicks",
    rate: Annotated[float, typer.Option(help="Clicks a second.")] = 1000.0,
    users: Annotated[int, typer.Option(help="Users that click.")] = 1000,
    items: Annotated[int, typer.Option(help="Items in the catalogue.")] = 1000,
) -> None:
    """Produce clicks at a steady rate until SIGTERM, then print the rate reached."""
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    random = np.random.default_rng()
    began = time.monotonic()
    sent = 0
    while not stop.wait(TICK_S):
        due = int((time.monotonic() - began) * rate)
        for _ in range(due - sent):
            one = click(random, users, items)
            producer.send(topic, key=one.user.encode(), value=one.SerializeToString())
        sent = due
    producer.flush()
    print(sent / (time.monotonic() - began), flush=True)
    producer.close()


if __name__ == "__main__":
    typer.run(main)
