"""The settings of one deployment: a YAML file,
overridden by `ECHORANK__SECTION__KEY` in the environment.

Each setting is declared once, in the file of its section (`stream.py`, `storage.py`,
`serving.py`), with its default, its bounds and its meaning; `ray_config.yaml`, `echorank config
docs` and the checks follow from the declaration. Nothing reads the environment at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from actors.errors import ConfigError
from cluster.settings import clashes
from cluster.settings.clashes import FULL_WEIGHT
from cluster.settings.problems import problems_of
from cluster.settings.section import Section
from cluster.settings.serving import ArmSettings, MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.sources import apply_environment, file_values
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import EventSettings, KafkaSettings, TopicSettings

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
