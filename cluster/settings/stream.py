"""The settings of the click log: the broker, its topics, and what a record looks like."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cluster.settings import clashes
from cluster.settings.section import Section
from cluster.settings.values import (
    Seconds,
    Secret,
    Servers,
    Text,
    TopicName,
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
