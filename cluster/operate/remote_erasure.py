"""What an erasure needs of a running system: shards and archive over Ray,
ends and retention from Kafka.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from actors.archive import erasure as archive_erasure
from actors.archive.erasure import ErasedRows
from actors.archive.files import ArchiveFiles
from actors.errors import BrokerUnavailable
from actors.shard.erasure import ErasedStates
from actors.snapshots.store import Deleted
from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.routing import Route
from cluster.kafka.clients import KafkaAdmin
from cluster.names import ARCHIVE, COORDINATOR
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.ray_port import Ray, call
from cluster.processes.shard_process import ShardProcess
from cluster.settings.stream import TopicSettings
from rpc import echorank_pb2 as pb

log = logging.getLogger(__name__)

DAY_MS = 86_400_000


class RemoteHolders:
    """The shards of a running system."""

    def __init__(self, ray: Ray, long_call_s: float) -> None:
        self._ray = ray
        self._long_call_s = long_call_s

    async def route(self, partition: int) -> Route:
        """Who holds the partition, as the coordinator has it now."""
        table = await call(self._ray, COORDINATOR, Coordinator.wait_newer, 0, 0.0)
        return table.routes[partition]

    async def erase(
        self, shard: str, partition: int, user_key: int, until: int, epoch: int
    ) -> ErasedStates:
        """Erase at one replica."""
        return await call(self._ray, shard, ShardProcess.erase, partition, user_key, until, epoch)

    async def remembers(self, shard: str, partition: int, user_key: int) -> bool:
        """Whether one replica may still name the user."""
        return await call(self._ray, shard, ShardProcess.remembers, partition, user_key)

    async def forget_older(self, shard: str, partition: int) -> list[Deleted]:
        """Save the partition anew, and delete what is older."""
        return await call(
            self._ray, shard, ShardProcess.forget_older, partition, timeout_s=self._long_call_s
        )


class RemoteArchive:
    """The archive: its actor where one is alive,
    because that one has clicks in memory; else the files themselves.
    """

    def __init__(self, ray: Ray, files: ArchiveFiles, long_call_s: float) -> None:
        self._ray = ray
        self._long_call_s = long_call_s
        self._files = files

    async def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        """Take the user's clicks out."""
        if self._ray.has(ARCHIVE):
            arguments = partition, user_key, until
            return await call(
                self._ray, ARCHIVE, ArchiveProcess.erase, *arguments, timeout_s=self._long_call_s
            )
        return await asyncio.to_thread(
            archive_erasure.erase, self._files, partition, user_key, until
        )


class KafkaRemains:
    """What Kafka knows: where a partition of the clicks topic ends,
    and how long topics keep records.
    """

    def __init__(self, connect: Callable[[], KafkaAdmin], topics: TopicSettings) -> None:
        self._connect = connect
        self._topics = topics

    async def log_end(self, partition: int) -> int:
        """The offset after the newest click, committed or not; BrokerUnavailable if nobody says."""
        return await asyncio.to_thread(self._log_end, partition)

    async def places(self) -> Sequence[pb.ErasedPlace]:
        """The topics that may hold the user, and until when, and what else remains."""
        return await asyncio.to_thread(self._places)

    def _log_end(self, partition: int) -> int:
        with self._connect() as admin:
            return admin.ends(self._topics.clicks, [partition], committed=False)[partition]

    def _places(self) -> list[pb.ErasedPlace]:
        topics = self._topics
        note = "stays until the topic's retention deletes it"
        holds = {
            topics.clicks: "clicks of the user",
            topics.dlq: "records that could not be used, which may name the user",
            topics.exposures: "answers to the user, and the user's id as key",
        }
        places = [
            pb.ErasedPlace(
                place=f"kafka/{topic}", note=f"{what}: {note} ({self._retention(topic)})"
            )
            for topic, what in holds.items()
        ]
        learned = (
            "what models learned from the clicks, and copies of archive files made "
            "elsewhere, are as they were"
        )
        return [*places, pb.ErasedPlace(place="models", note=learned)]

    def _retention(self, topic: str) -> str:
        """In words. The user is gone from all other places by now,
        so a broker that does not say is no failure.
        """
        try:
            with self._connect() as admin:
                return retention(admin.settings(topic, ("retention.ms", "cleanup.policy")))
        except BrokerUnavailable as error:
            log.warning("%s", error)
            return "how long, the broker did not say"


def retention(found: Mapping[str, str]) -> str:
    """How long a topic with these settings keeps its records, in words."""
    if "delete" not in found.get("cleanup.policy", "delete"):
        return (
            f"cleanup.policy {found['cleanup.policy']}: for ever, unless newer records of the "
            "key replace it"
        )
    if not (kept_ms := found.get("retention.ms")):
        return "retention.ms unknown: ask the broker"
    return "retention.ms -1: for ever" if int(kept_ms) < 0 else f"{int(kept_ms) / DAY_MS:g} days"
