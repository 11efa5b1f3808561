"""What clients and actors are given, derived from the settings."""

from __future__ import annotations

import functools
import math
from pathlib import Path

from actors.archive.writer import RollSettings
from actors.calls.admission import Bounds
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, FieldPaths
from actors.clock import Clock
from actors.ingest.ingest import IngestSettings
from actors.serve.limits import RequestLimits
from actors.shard.roles import Feed
from actors.shard.settings import ShardSettings
from actors.state.maker import TierSettings
from cluster.broker.broker import Broker
from cluster.coordinator.settings import CoordinatorSettings
from cluster.kafka.access import KafkaAccess
from cluster.kafka.log_watch import SILENT_S
from cluster.kafka.topics import Topic
from cluster.settings.config import Settings
from cluster.settings.scale import FULL, Scale
from cluster.settings.storage import ArchiveSettings, StateSettings


def limits(settings: Settings) -> RequestLimits:
    """The bounds of a request."""
    return RequestLimits(
        candidates_max=settings.serving.candidates_max,
        id_bytes_max=settings.events.id_bytes_max,
        deadline_default_s=settings.serving.deadline_default_ms / 1000,
        future_tolerance_s=settings.events.future_tolerance_s,
    )


def bounds(settings: Settings) -> Bounds:
    """How much a server takes at a time."""
    serving = settings.serving
    return Bounds(
        queue_max=serving.queue_max,
        streams_max=serving.streams_max,
        stream_idle_s=serving.stream_idle_s,
    )


def shard_settings(settings: Settings, scale: Scale = FULL) -> ShardSettings:
    """What a shard keeps to."""
    return ShardSettings(
        snapshot_interval_s=settings.state.snapshot_interval_s,
        snapshot_share_max=settings.state.snapshot_share_max,
        bytes_per_user_max=settings.state.bytes_per_user_max,
        users_initial=settings.state.users_initial,
        ready_lag_records_max=settings.serving.ready_lag_records_max,
        silence_s=SILENT_S,
        traffic=frozenset(arm.name for arm in settings.arms if arm.role == "live" and arm.weight),
        tiers=_tier_settings(settings),
        twins_one_in=settings.state.compression_sample,
        arms_apart_records=scale.arms_apart_records,
        slice_events=scale.slice_events,
        piece_rows=scale.piece_rows,
    )


def _tier_settings(settings: Settings) -> TierSettings | None:
    """A store's part of the memory does not depend on how many the shard happens
    to have, so it never has to shrink.
    """
    state = settings.state
    if state.memory_bytes_max is None and state.idle_s is None:
        return None
    held = settings.topics.partitions * (1 + settings.serving.standbys)
    stores = math.ceil(held / settings.serving.shards) * len(settings.arms)
    return TierSettings(
        cold_directory=state.cold_directory,
        cold_bytes_max=state.cold_bytes_max,
        hot_bytes_max=None if state.memory_bytes_max is None else state.memory_bytes_max // stores,
        idle_s=state.idle_s,
    )


def coordinator_settings(settings: Settings, scale: Scale = FULL) -> CoordinatorSettings:
    """How patient the coordinator is."""
    serving = settings.serving
    return CoordinatorSettings(
        standbys=serving.standbys,
        lease_s=serving.lease_s,
        grace_s=serving.grace_s,
        start_s=scale.registration_s,
        handover_lag_max=serving.ready_lag_records_max,
    )


def event_format(settings: Settings) -> EventFormat:
    """What a click looks like."""
    events = settings.events
    return EventFormat(
        format=events.format,
        fields=FieldPaths(**events.fields.model_dump()),
        time_unit=events.time_unit,
        record_bytes_max=events.record_bytes_max,
        id_bytes_max=events.id_bytes_max,
        future_tolerance_s=events.future_tolerance_s,
        action_map=events.action_map,
        actions=frozenset(events.actions),
    )


def decoder(settings: Settings, clock: Clock) -> Decoder:
    """What makes clicks of records: the same for ingest,
    archive and replay, or they would not agree.
    """
    return Decoder(event_format(settings), clock, partitions=settings.topics.partitions)


def access(settings: Settings) -> KafkaAccess:
    """The way to the brokers, once there are some."""
    kafka = settings.kafka
    assert kafka.bootstrap_servers, "the broker is resolved first"
    return KafkaAccess(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=kafka.sasl_password,
        ssl_cafile=kafka.ssl_cafile,
        request_timeout_s=kafka.request_timeout_s,
    )


def topics(settings: Settings, *, own_broker: bool) -> list[Topic]:
    """The topics that must exist. Without topics.create,
    only the broker that we bring gets a clicks topic.
    """
    topics = settings.topics
    wanted = settings.topics.create
    topic = functools.partial(
        Topic, partitions=topics.partitions, replication_factor=topics.replication_factor
    )
    ours = [topics.dlq, topics.exposures] if settings.serving.exposures else [topics.dlq]
    return [
        topic(
            name=topics.clicks,
            exact=True,
            needs="Read",
            create=own_broker if wanted is None else wanted,
        ),
        *(topic(name=name, create=wanted is not False) for name in ours),
    ]


def letters_group(settings: Settings) -> str:
    """The group in whose name it is kept which dead letters are written:
    one for each dead-letter topic.
    """
    return f"{settings.kafka.group_id}.{settings.topics.dlq}"


def ingest_settings(
    settings: Settings, feed: Feed, scale: Scale = FULL, *, commits: bool
) -> IngestSettings:
    """How patient ingest is: an archive that runs writes within two of
    its intervals what it has read.
    """
    rest = 1.0 if feed is Feed.BEHIND else 0.0
    return IngestSettings(
        commits=commits,
        commit_interval_s=scale.commit_interval_s,
        history_patience_s=2 * settings.archive.roll_s,
        rest=rest,
    )


def roll_settings(settings: Settings) -> RollSettings:
    """When the archive's files are complete."""
    archive = settings.archive
    return RollSettings(
        roll_s=archive.roll_s, roll_records=archive.roll_records, roll_bytes=archive.roll_bytes
    )


def placed(settings: Settings, broker: Broker, run: str) -> Settings:
    """The settings with the broker's address, and absolute directories of states and archive.

    Both belong to a log: those made from a broker that forgets when it ends get directories of
    their own.
    """
    own = f"/run-{run}" if broker.kind == "embedded" else ""

    def below(section: StateSettings | ArchiveSettings) -> dict[str, str]:
        directory = section.directory
        return {
            "directory": f"{directory if '://' in directory else Path(directory).absolute()}{own}"
        }

    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(
                update={"bootstrap_servers": broker.bootstrap_servers}
            ),
            "state": settings.state.model_copy(
                update=below(settings.state)
                | {"cold_directory": f"{Path(settings.state.cold_directory).absolute()}{own}"}
            ),
            "archive": settings.archive.model_copy(update=below(settings.archive)),
        }
    )
