"""How actors are started: named, outliving who started them, restarted for ever, and each in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import ConfigError
from cluster.remote import COORDINATOR
from cluster.system import GATEWAY

CPUS_PER_ACTOR = 0.1  # actors share the cores: the operating system schedules them better than a reservation would


def start_actor(namespace: str, kind: type[Any], name: str, build: Callable[[], Any]) -> Any:
    """The handle of a new actor; ConfigError if the namespace has one of that name."""
    try:
        return (
            ray.remote(kind)
            .options(
                name=name,
                namespace=namespace,
                lifetime="detached",
                max_restarts=-1,
                max_task_retries=0,
                **_place(name),
            )
            .remote(build)
        )
    except ValueError as error:
        raise ConfigError(
            f"namespace {namespace!r} of this Ray cluster has an actor {name!r} already, so another EchoRank runs "
            "there: stop it, or set ray.namespace"
        ) from error


def _place(name: str) -> dict[str, Any]:
    """Gateway and coordinator beside the process that starts the system; the others spread out.

    There the gateway's port was found free; and where that node is Ray's head, whose death ends everything anyway, the
    coordinator does not die with another node, just when that node's partitions need new owners.
    """
    if name in {GATEWAY, COORDINATOR}:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return {"num_cpus": 0, "scheduling_strategy": here}
    return {"num_cpus": CPUS_PER_ACTOR, "scheduling_strategy": "SPREAD"}
