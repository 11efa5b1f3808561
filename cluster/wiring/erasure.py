"""What erases users in the running system of some settings."""

from __future__ import annotations

import functools

from cluster.operate.erasure import Erasure
from cluster.operate.remote_erasure import KafkaRemains, RemoteArchive, RemoteHolders
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.files import archive
from cluster.wiring.world import World


def build_erasure(world: World, settings: Settings) -> Erasure:
    """What erases users; it asks the system when it is used."""
    connect = functools.partial(world.kafka.admin, for_parts.access(settings))
    kafka = KafkaRemains(connect, settings.topics)
    long_call_s = world.scale.long_call_s
    files = archive(world, settings.archive.directory)
    return Erasure(
        partitions=settings.topics.partitions,
        limits=for_parts.limits(settings),
        replicas=RemoteHolders(world.ray, long_call_s),
        archive=RemoteArchive(world.ray, files, long_call_s),
        log_end=kafka.log_end,
        remains=kafka.places,
        clock=world.clock,
    )
