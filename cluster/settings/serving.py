"""The settings of the processes: where they run, what they serve, what they show of themselves."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cluster.settings.clashes import FULL_WEIGHT
from cluster.settings.section import Section
from cluster.settings.values import (
    ClusterAddress,
    Count,
    LocalPath,
    Port,
    Text,
    Token,
)


class RaySettings(Section):
    """Where the actors run."""

    address: ClusterAddress | None = Field(
        default=None,
        description="Ray cluster to join (host:port, or auto); null starts a local one.",
    )
    namespace: Text = Field(
        default="echorank", description="Ray namespace of the named actors; one per deployment."
    )
    cpus: Count | None = Field(
        default=None,
        description="CPU cores of a local Ray; null takes all. Unused with an address.",
    )


class ArmSettings(Section):
    """One model version with its own user states over the same log."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = Field(
        description="Name of the arm, in requests, metrics and snapshots."
    )
    bundle: LocalPath = Field(description="Directory of the published model (echorank publish).")
    weight: Annotated[int, Field(ge=0, le=FULL_WEIGHT)] = Field(
        default=0, description="Share of the traffic in 10,000ths; only live arms take traffic."
    )
    role: Literal["live", "shadow", "candidate"] = Field(
        default="candidate",
        description="All fold every click; live takes traffic, shadow (none is mirrored yet) and "
        "candidate answer only "
        "if named.",
    )

    @model_validator(mode="after")
    def _only_live_arms_weigh(self) -> Self:
        if self.role != "live" and self.weight:
            raise ValueError(
                f"arm {self.name} is {self.role} and takes no traffic: its weight must be 0"
            )
        return self


class ServingSettings(Section):
    """Actors, addresses and limits of the scoring service."""

    host: Text = Field(
        default="127.0.0.1",
        description="Address the gRPC servers listen on; 0.0.0.0 or :: for all.",
    )
    port: Port = Field(
        default=50_051, description="gRPC port of the gateway; 0 takes a free one, as shards do."
    )
    shards: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=2,
        description="Shard processes at start; echorank scale changes them while the system runs.",
    )
    standbys: Annotated[int, Field(ge=0, le=1)] = Field(
        default=0,
        description=(
            "Warm standbys of each partition, on another shard: 1 takes over within 2 s and "
            "doubles memory."
        ),
    )
    lease_s: Annotated[float, Field(ge=0.5, le=60, allow_inf_nan=False)] = Field(
        default=1.0,
        description="Seconds without a heartbeat after which a shard's standbys take over.",
    )
    grace_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        default=5.0,
        description=(
            "Seconds after that until its partitions go to other shards; Ray restarts a "
            "process in less."
        ),
    )
    ingests: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=1, description="Ingest processes that read Kafka."
    )
    candidates_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=2000, description="Most items of one Score request, and largest k of Recommend."
    )
    message_bytes_max: Annotated[int, Field(ge=1024)] = Field(
        default=1_048_576, description="Bytes of the largest gRPC message, either way."
    )
    queue_max: Count = Field(
        default=512, description="Requests in flight per server before RESOURCE_EXHAUSTED."
    )
    streams_max: Count = Field(
        default=512, description="Open ScoreStream calls per server before RESOURCE_EXHAUSTED."
    )
    stream_idle_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=300.0,
        description="Seconds without a question after which a ScoreStream is closed (ABORTED).",
    )
    deadline_default_ms: Count = Field(
        default=1000, description="Deadline in milliseconds of a request that brings none."
    )
    ready_lag_records_max: Annotated[int, Field(ge=0)] = Field(
        default=1000,
        description="Records a partition may lag and still count as ready in health checks.",
    )
    admin_token: Token | None = Field(
        default=None,
        repr=False,
        description=(
            "Bearer token that admin calls need; null lets everybody who reaches the port in."
        ),
    )
    exposures: bool = Field(
        default=True,
        description=(
            "Write every answer of Score and Recommend to topics.exposures, in the background."
        ),
    )


class MonitoringSettings(Section):
    """Metrics and logs."""

    host: Text = Field(
        default="127.0.0.1",
        description="Address the metrics servers listen on; 0.0.0.0 or :: for all.",
    )
    port: Port = Field(
        default=9464,
        description=(
            "HTTP port of the gateway: /metrics, /sd, /healthz; 0 takes a free one, as actors do."
        ),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe log line shown."
    )
    log_json: bool = Field(default=False, description="Log lines as JSON objects instead of text.")
