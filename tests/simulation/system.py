"""The system of a scenario: settings for the product's own builders (`cluster.wiring`)."""

from __future__ import annotations

from collections.abc import Mapping

from actors.serve.traffic import Arm
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from cluster.settings.config import Settings
from cluster.settings.scale import Scale
from cluster.settings.serving import ArmSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from model.bundle.bundle import Bundle
from tests.simulation.faults import Scenario

CALL_S = 4.0  # instead of 30 s: who waits in vain for an answer waits long enough
SLICE = 4  # rows or events that the store handles at a time, so that there is something in between
SCALE = Scale(
    registration_s=3.0,
    commit_interval_s=0.5,
    long_call_s=CALL_S,
    arms_apart_records=8,
    slice_events=SLICE,
    piece_rows=SLICE,
)


def settings(scenario: Scenario, arms: Mapping[str, Bundle]) -> Settings:
    """The settings of the system; the first arm takes the traffic."""
    main, *others = arms
    return Settings(
        ray=RaySettings(namespace="simulation"),
        kafka=KafkaSettings(bootstrap_servers="simulated:9092"),
        topics=TopicSettings(partitions=scenario.partitions),
        state=_state(scenario, arms),
        archive=ArchiveSettings(directory="archive", roll_s=2.0, roll_records=60),
        serving=ServingSettings(
            host="simulated",
            shards=scenario.shards,
            standbys=scenario.standbys,
            ingests=scenario.ingests,
            lease_s=0.7,
            grace_s=1.0,
            ready_lag_records_max=10,
            exposures=False,
        ),
        arms=(
            ArmSettings(name=main, bundle=main, role="live", weight=10_000),
            *(ArmSettings(name=name, bundle=name) for name in others),
        ),
    )


def served(arms: Mapping[str, Bundle]) -> list[Arm]:
    """The arms as the coordinator publishes them: all of them take questions."""
    return [
        Arm(name=name, model_version=bundle.version, role="live", weight=5000)
        for name, bundle in arms.items()
    ]


def _state(scenario: Scenario, arms: Mapping[str, Bundle]) -> StateSettings:
    """In some scenarios with hardly any memory: less than settings allow in earnest."""
    state = StateSettings(
        directory="state",
        cold_directory="cold",
        cold_bytes_max=1 << 20,
        snapshot_interval_s=1.0,
        users_initial=16,
        compression_sample=0,
    )
    if not scenario.users_hot:
        return state
    held = scenario.partitions * (1 + scenario.standbys)
    stores = -(-held // scenario.shards) * len(arms)
    user_bytes = max(each.layout.row_bytes for each in arms.values()) + BYTES_BESIDE_ROW_MAX
    return state.model_copy(update={"memory_bytes_max": stores * scenario.users_hot * user_bytes})
