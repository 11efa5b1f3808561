"""A broker whose disk is full."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from cluster.kafka.clients import producer
from tests.kafka.click_path import click, read
from tests.kafka.cluster_of_brokers import ClusterOfBrokers
from tests.kafka.conftest import Scene

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

DISK_BYTES = 48 << 20


@pytest.fixture
def small_disk(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB in memory, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if (
        os.geteuid() != 0
        or subprocess.run(command, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("needs root and the right to mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_ends_the_broker_and_space_brings_it_back(
    home: Path, small_disk: Path, tmp_path: Path
) -> None:
    """A broker that cannot write ends itself; readers wait as for any outage.
    With space again, all goes on.

    What was acknowledged before is there and counts once; what was not may be there or not.
    """
    with ClusterOfBrokers(home, small_disk, nodes=1) as cluster:
        stage = Scene(cluster.access(request_timeout_s=2.0), tmp_path / "states")
        topic = stage.topic(segment_bytes=1 << 20)
        async with stage.path(topic) as path:
            with producer(stage.access, acks=1) as writer:
                sent = [
                    writer.send(topic, click(number)[1], key=click(number)[0])
                    for number in range(500)
                ]
                writer.flush(20)
            await path.reach(500)
            filler = small_disk / "filler"
            fill(filler)
            process = cluster.nodes[1].process
            assert process is not None
            await asyncio.to_thread(write_until_it_fails, stage, topic)
            await path.until(lambda: not process.runs, within_s=60)
            stood = path.positions()[0]
            filler.unlink()
            cluster.relaunch(1)
            await asyncio.to_thread(cluster.wait, 1)
            with producer(stage.access) as writer:
                writer.send(topic, click(10_000)[1], key=click(10_000)[0]).get(30)
            log = await asyncio.to_thread(read, stage.access, topic)
            await path.reach(log[-1].offset + 1)
            assert log[-1].offset >= stood
            assert path.digests() == path.clean(log)
    assert all(future.succeeded() for future in sent)


def fill(filler: Path) -> None:
    """Take all the space that is left."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return


def write_until_it_fails(stage: Scene, topic: str) -> None:
    """Send big records until the broker takes no more."""
    options = {
        "compression_type": None,
        "retries": 0,
        "enable_idempotence": False,
        "delivery_timeout_ms": 3000,
    }
    with producer(stage.access, max_block_ms=3000, **options) as writer:
        for number in range(1000):
            key, value = click(number)
            try:
                writer.send(topic, value, key=key, headers=[("padding", bytes(100_000))]).get(5)
            except KafkaError:
                return
    raise AssertionError("a full disk took 100 MB")
