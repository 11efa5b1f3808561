"""The composition root: settings in, a running system out.
Real clients and actors are made here and nowhere else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray

from actors.serve.traffic import Arm
from actors.snapshots.identity import Identity, claim
from cluster.broker.broker import Broker, resolve
from cluster.broker.free_port import check_free
from cluster.kafka.topics import ensure_topics, warn_of_lossy_settings
from cluster.lifecycle.ray_start import start_ray
from cluster.lifecycle.system import System
from cluster.processes.served_models import ServedModels
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.actors import create_actors
from cluster.wiring.files import topic_identity
from cluster.wiring.real import real
from cluster.wiring.world import World
from model.bundle.bundle import Bundle
from model.bundle.load import load_bundle

log = logging.getLogger(__name__)

Load = Callable[[str], Bundle]


def start_system(
    settings: Settings,
    *,
    load: Load = load_bundle,
    environ: Mapping[str, str] = os.environ,
    make_world: Callable[[Settings], World] = real,
) -> System:
    """Start broker, Ray and actors; the system works when `System.wait_ready` returns.
    Call it from the main thread.

    Raises:
        ConfigError, BundleError, BrokerUnavailable: what cannot be used, found before anything is
            left running.
    """
    arms = [
        _arm(settings, name, load(bundle).version) for name, bundle in _bundles(settings).items()
    ]
    for setting, host, port in (
        ("serving", settings.serving.host, settings.serving.port),
        ("monitoring", settings.monitoring.host, settings.monitoring.port),
    ):
        check_free(setting, host, port)
    world = make_world(settings)
    run = world.token(4)
    with ExitStack() as undo:
        broker = undo.enter_context(_broker(settings, environ))
        settings = for_parts.placed(settings, broker, run)
        with world.kafka.admin(for_parts.access(settings)) as admin:
            ensure_topics(admin, for_parts.topics(settings, own_broker=broker.kind != "external"))
            if broker.kind != "embedded":
                # it has no replicas, and hangs up when it is asked for settings
                warn_of_lossy_settings(admin, settings.topics.clicks)
            identity = Identity(
                namespace=settings.ray.namespace,
                topic=settings.topics.clicks,
                log=admin.cluster_id() or "",
            )
            topic_id = admin.topic_id(settings.topics.clicks)
        topic_identity(world, settings).confirm(settings.topics.clicks, topic_id)
        claim(settings.state.directory, identity, world.open_root)
        undo.callback(ray.shutdown)
        start_ray(settings.ray, show_logs=settings.monitoring.log_level == "DEBUG")
        actors: dict[str, Any] = {}
        system = System(settings, broker, actors, ephemeral_state=broker.kind == "embedded")
        undo.callback(system.kill)
        # those that were made, should a later one fail
        models = ServedModels(
            _bundles(settings), {arm.name: arm.model_version for arm in arms}, load
        )
        actors.update(create_actors(world, settings, run, arms, models))
        system.wait_constructed()
        undo.pop_all()
    return system


def _arm(settings: Settings, name: str, version: str) -> Arm:
    [arm] = [arm for arm in settings.arms if arm.name == name]
    return Arm(name=name, model_version=version, role=arm.role, weight=arm.weight)


def _bundles(settings: Settings) -> dict[str, str]:
    return {arm.name: str(Path(arm.bundle).absolute()) for arm in settings.arms}


def _broker(settings: Settings, environ: Mapping[str, str]) -> Broker:
    if settings.kafka.bootstrap_servers:
        return resolve(for_parts.access(settings), environ=environ)
    local = "://" not in settings.state.directory
    return resolve(
        environ=environ,
        directory=Path(settings.state.directory, "kafka").absolute() if local else None,
    )
