"""The settings of what is kept: user states with their snapshots, and the archive."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cluster.settings.section import Section
from cluster.settings.values import (
    Count,
    Directory,
    LocalPath,
    Seconds,
)


class StateSettings(Section):
    """The user states and their snapshots."""

    directory: Directory = Field(
        default="out/state", description="Where snapshots are kept: a path, or a file-system URI."
    )
    snapshot_interval_s: Seconds = Field(
        default=10.0,
        description="Seconds between snapshots of a partition; a crash replays at most about this "
        "much, or what "
        "snapshot_share_max makes of it.",
    )
    snapshot_share_max: Annotated[float, Field(ge=0.001, le=1, allow_inf_nan=False)] = Field(
        default=0.03,
        description="Largest share of one processor's time that the snapshots of a shard may take "
        "on average; where "
        "they would take more they come later than snapshot_interval_s, and a crash replays more.",
    )
    snapshots_kept: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3,
        description="Snapshots kept per partition; 2 or more survive a damaged newest one.",
    )
    bytes_per_user_max: Annotated[int, Field(ge=256)] = Field(
        default=4096,
        description=(
            "Budget in bytes per user and arm, index included; a larger model is refused at start."
        ),
    )
    compression_sample: Annotated[int, Field(ge=0)] = Field(
        default=10_000,
        description="One user in so many is also kept unrounded, at most 8 a partition and arm, "
        "to measure "
        "compression_error; 0: nobody.",
    )
    users_initial: Count = Field(
        default=1024,
        description="Rows reserved per partition and arm at start; full, it grows by a quarter.",
    )
    memory_bytes_max: Annotated[int, Field(ge=1 << 20)] | None = Field(
        default=None,
        description="Bytes of states in a shard's memory, shared equally by the arms of the "
        "partitions it should hold, "
        "standbys included; users beyond wait on disk, least recently used first. null: no limit.",
    )
    idle_s: Seconds | None = Field(
        default=None,
        description="Seconds without event or request until a user is moved to disk; null: never.",
    )
    cold_directory: LocalPath = Field(
        default="out/cold",
        description="Local directory of users who wait on disk; scratch, emptied at start.",
    )
    cold_bytes_max: Annotated[int, Field(ge=1 << 20)] = Field(
        default=64 << 30, description="Most bytes on disk for the users of one partition and arm."
    )


class ArchiveSettings(Section):
    """The click log as Parquet files, beyond Kafka's retention."""

    enabled: bool = Field(
        default=True, description="Archive every click that can be applied, with its ids as sent."
    )
    directory: Directory = Field(
        default="out/archive",
        description="Where the archive is kept: a path, or a file-system URI.",
    )
    roll_s: Seconds = Field(
        default=60.0,
        description=(
            "Seconds from a file's first click until it is written; a crash reads them again."
        ),
    )
    roll_records: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100_000,
        description=(
            "Clicks with which a file is written earlier; so many a partition are in memory."
        ),
    )
    roll_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=33_554_432,
        description=(
            "Bytes of clicks in memory with which a file is written earlier; on disk it has a "
            "fifth or less."
        ),
    )
