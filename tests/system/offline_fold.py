"""What the states of a running system have to be: a fold of its log in this process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from prometheus_client import CollectorRegistry

from actors.clock import SystemClock
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from cluster.kafka.access import KafkaAccess
from cluster.kafka.log import KafkaLog
from cluster.settings import for_parts
from cluster.settings.config import (
    Settings,
)
from model.bundle.load import load_bundle
from monitoring.metrics import Metrics


def offline_digests(
    settings: Settings, ends: dict[int, int], directory: Path
) -> dict[tuple[int, str], str]:
    """The digests of a fold of the same log in this process, partition by partition."""
    clock = SystemClock()
    arms = {arm.name: load_bundle(arm.bundle) for arm in settings.arms}
    decoder = for_parts.decoder(settings, clock)
    metrics = Metrics(CollectorRegistry())
    snapshots = SnapshotStore.from_uri(str(directory), kept=1)
    shard = Shard("offline", arms, snapshots, metrics, clock, ShardSettings())
    click_log = KafkaLog(
        KafkaAccess(bootstrap_servers=settings.kafka.bootstrap_servers or ""),
        topic=settings.topics.clicks,
        group_id="offline",
        poll_timeout_ms=100,
        records_per_poll_max=371,
    )
    with closing(click_log):
        click_log.assign(ends)
        for partition in ends:
            shard.hold(partition, epoch=1)
            click_log.seek(partition, 0)
            click_log.resume(partition)
        while shard.positions() != ends:
            for found in click_log.poll():
                batch, dead = decoder.decode_batch(
                    found.partition, found.start, found.stop, found.records
                )
                assert {letter.reason for letter in dead} <= {"wrong_partition"}
                shard.apply(batch, epoch=1)
    return {(partition, arm): shard.digest(partition, arm) for partition in ends for arm in arms}
