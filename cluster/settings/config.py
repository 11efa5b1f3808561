"""The settings of one deployment: a YAML file,
overridden by `ECHORANK__SECTION__KEY` in the environment.

Each setting is declared once, here, with its default, its bounds and its meaning;
`ray_config.yaml`, `echorank config docs` and the checks follow from the declaration. Nothing reads
the environment at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from actors.errors import ConfigError
from cluster.settings import clashes
from cluster.settings.clashes import FULL_WEIGHT
from cluster.settings.problems import problems_of
from cluster.settings.section import Section
from cluster.settings.sources import apply_environment, file_values
from cluster.settings.values import (
    ClusterAddress,
    Count,
    Directory,
    LocalPath,
    Port,
    Seconds,
    Secret,
    Servers,
    Text,
    Token,
    TopicName,
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


class KafkaSettings(Section):
    """How to reach the broker."""

    bootstrap_servers: Servers | None = Field(
        default=None,
        description=(
            "host:port list of an existing Kafka; null starts one (KAFKA_HOME, else embedded)."
        ),
    )
    group_id: Text = Field(
        default="echorank", description="Consumer group for committed offsets; one per deployment."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Protocol spoken to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="SASL mechanism; needed with SASL_PLAINTEXT and SASL_SSL."
    )
    sasl_username: str | None = Field(default=None, description="SASL user name.")
    sasl_password: Secret | None = Field(
        default=None,
        repr=False,
        description="SASL password; better set as ECHORANK__KAFKA__SASL_PASSWORD than in a file.",
    )
    ssl_cafile: str | None = Field(
        default=None, description="PEM file with the brokers' certificate authority."
    )
    request_timeout_s: Seconds = Field(
        default=30.0, description="Seconds until a request to a broker counts as failed."
    )
    poll_timeout_ms: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=20,
        description=(
            "Milliseconds one poll waits for records; adds to event-to-score time when idle."
        ),
    )
    records_per_poll_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=2000, description="Most records of one poll, so of one batch of one partition."
    )

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        missing = [
            f"kafka.{name}"
            for name in ("sasl_mechanism", "sasl_username", "sasl_password")
            if getattr(self, name) is None
        ]
        if self.security_protocol.startswith("SASL") and missing:
            raise ValueError(
                f"security_protocol {self.security_protocol} needs {', '.join(missing)}"
            )
        return self


class TopicSettings(Section):
    """The topics, and how to make them."""

    clicks: TopicName = Field(
        default="clicks", description="Topic with the click stream; the record key is the user id."
    )
    dlq: TopicName = Field(
        default="clicks.dlq",
        description="Topic for records that cannot be used, with the reason in headers.",
    )
    exposures: TopicName = Field(
        default="exposures",
        description="Topic for what was answered to whom, by which arm, with which propensity.",
    )
    partitions: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=8,
        description="Partitions of the clicks topic; a user's home is murmur2(user id) mod this.",
    )
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] = Field(
        default=1, description="Copies of each partition when topics are created; 3 for production."
    )
    create: bool | None = Field(
        default=None,
        description="Create missing topics at start: true, all; false, none; null, all on a "
        "broker that EchoRank "
        "brings, and dlq and exposures alone on the one that kafka.bootstrap_servers names.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({self.clicks, self.dlq, self.exposures}) < 3:
            raise ValueError(
                f"clicks, dlq and exposures must be three different topics, got {self.clicks}, "
                f"{self.dlq}, {self.exposures}"
            )
        return self


class EventFields(Section):
    """Where a JSON event keeps its parts; a dot goes one level down (product.id)."""

    user: Text = Field(default="user", description="Path of the user id in a JSON event.")
    item: Text = Field(default="item", description="Path of the item id in a JSON event.")
    time: Text = Field(default="time", description="Path of the event time in a JSON event.")
    action: Text = Field(
        default="action", description="Path of the action name in a JSON event; absent means click."
    )

    @model_validator(mode="after")
    def _paths_differ(self) -> Self:
        if wrong := clashes.of_paths(self.model_dump()):
            raise ValueError(wrong)
        return self


class EventSettings(Section):
    """What a record on the clicks topic looks like."""

    format: Literal["protobuf", "json"] = Field(
        default="protobuf",
        description="Encoding of the records: echorank.v1.Click, or JSON with the fields below.",
    )
    fields: EventFields = Field(
        default=EventFields(), description="Paths of the parts of a JSON event."
    )
    time_unit: Literal["ms", "s", "iso8601"] = Field(
        default="ms", description="Unit of the time in a JSON event."
    )
    record_bytes_max: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        default=65_536, description="Bytes of the largest record taken; larger ones go to the dlq."
    )
    id_bytes_max: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=256, description="Bytes of the longest user or item id taken, in UTF-8."
    )
    future_tolerance_s: Annotated[int, Field(ge=0)] = Field(
        default=86_400,
        description=(
            "Seconds an event's time may lie ahead of its record's before it goes to the dlq."
        ),
    )
    action_map: dict[str, Text] = Field(
        default={},
        description=(
            "What an action is called in records and what the models call it: {order_placed: buy}."
        ),
    )
    actions: list[Text] = Field(
        default=[],
        description="Names of the actions taken, after action_map; a click with another goes to "
        "the dlq. Empty takes "
        "all; each arm passes over, and counts, those that its model was not trained on.",
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


DEFAULT_ARMS = (ArmSettings(name="main", bundle="out/bundle", weight=FULL_WEIGHT, role="live"),)


class Settings(Section):
    """Everything a deployment can set."""

    ray: RaySettings = Field(default=RaySettings(), description="Where the actors run.")
    kafka: KafkaSettings = Field(default=KafkaSettings(), description="How to reach the broker.")
    topics: TopicSettings = Field(
        default=TopicSettings(), description="The topics, and how to make them."
    )
    events: EventSettings = Field(default=EventSettings(), description="What a click looks like.")
    state: StateSettings = Field(default=StateSettings(), description="User states and snapshots.")
    archive: ArchiveSettings = Field(
        default=ArchiveSettings(), description="The click log as Parquet files."
    )
    arms: tuple[ArmSettings, ...] = Field(
        default=DEFAULT_ARMS, description="Models that run side by side; live weights sum to 10000."
    )
    serving: ServingSettings = Field(
        default=ServingSettings(), description="Actors, addresses, limits."
    )
    monitoring: MonitoringSettings = Field(
        default=MonitoringSettings(), description="Metrics and logs."
    )

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("arms", mode="after")
    @classmethod
    def _arms_fit_together(cls, arms: tuple[ArmSettings, ...]) -> tuple[ArmSettings, ...]:
        if wrong := clashes.of_arms(arms):
            raise ValueError(wrong)
        return arms

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.serving.port == self.monitoring.port != 0:
            raise ValueError(
                f"serving.port and monitoring.port must differ, both are {self.serving.port}"
            )
        return self

    @model_validator(mode="after")
    def _directories_differ(self) -> Self:
        used = {
            "state.directory": self.state.directory,
            "state.cold_directory": self.state.cold_directory,
        }
        if self.archive.enabled:
            used["archive.directory"] = self.archive.directory
        if wrong := clashes.of_directories(used):
            raise ValueError(wrong)
        return self


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings of the file at `path` (None: defaults alone), then of `ECHORANK__*` in `environ`.

    Raises:
        ConfigError: one line per problem: the setting's dotted path, its value, what is allowed.
    """
    problems: list[str] = []
    values = file_values(path, Settings, problems) if path else {}
    origins = apply_environment(values, environ, Settings, problems)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, Settings, origins)
    if problems:
        raise ConfigError(
            "\n".join([f"{path or 'the environment'}: {len(problems)} problem(s)", *problems])
        )
    return settings
