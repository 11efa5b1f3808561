"""How actors are started: named, outliving who started them,
restarted for ever, and each in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import ConfigError
from cluster.names import ARCHIVE, SHARD
from training import ray_private

# actors share the cores: the operating system schedules them better than a reservation would
CPUS_PER_ACTOR = 0.1


def start_actor(
    namespace: str, kind: type[Any], name: str, build: Callable[[], Any], node: str = ""
) -> Any:
    """The handle of a new actor, on `node` if that has room;
    ConfigError if the namespace has one of that name.
    """
    try:
        return (
            ray.remote(kind)
            .options(
                name=name,
                namespace=namespace,
                lifetime="detached",
                max_restarts=-1,
                max_task_retries=0,
                # else Ray's control store keeps an entry for each call, in memory
                enable_task_events=False,
                **_place(name, node),
            )
            .remote(build)
        )
    except ValueError as error:
        raise ConfigError(
            f"namespace {namespace!r} of this Ray cluster has an actor {name!r} already, so "
            "another EchoRank runs there: stop it, or set ray.namespace"
        ) from error


def _place(name: str, node: str) -> dict[str, Any]:
    """Shards and archive spread out; gateway,
    coordinator and ingests run beside the process that starts the system.

    There the gateway's port was found free; and where that node is Ray's head, whose death ends
    everything anyway, coordinator and ingests do not die with another node, just when that node's
    partitions need new owners and their clicks.
    """
    if not SHARD.fullmatch(name) and name != ARCHIVE:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return {"num_cpus": 0, "scheduling_strategy": here}
    there = ray_private.beside(node) if node else "SPREAD"
    return {"num_cpus": CPUS_PER_ACTOR, "scheduling_strategy": there}
