"""The real Ray: actors that are named, outlive who started them,
are restarted for ever, and are each in its place.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVarTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import ConfigError
from cluster.names import ARCHIVE, SHARD
from cluster.processes.actor import Actor
from training import ray_private

log = logging.getLogger(__name__)

CALL_S = 30.0  # restoring a large partition may take as long
# actors share the cores: the operating system schedules them better than a reservation would
CPUS_PER_ACTOR = 0.1

Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class RealRay:
    """The actors of a namespace of the Ray cluster that this process has joined."""

    namespace: str
    call_s: float = CALL_S

    @property
    def restarted(self) -> bool:
        """Whether Ray has started this process in place of one that ended."""
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)

    @property
    def node(self) -> str:
        """The id of the node of this process."""
        return str(ray.get_runtime_context().get_node_id())

    def ask(self, actor: str, method: str, args: tuple[Any, ...]) -> Awaitable[Any]:
        """The answer to come; ValueError for an unknown name."""
        answer: Awaitable[Any] = self._handle(actor).call.remote(method, *args)
        return answer

    def create(self, name: str, build: Callable[[], Awaitable[Any]], node: str = "") -> Any:
        """The handle of a new actor, on `node` if that has room;
        ConfigError if the namespace has one of that name.
        """
        try:
            return (
                ray.remote(_named(name))
                .options(
                    name=name,
                    namespace=self.namespace,
                    lifetime="detached",
                    max_restarts=-1,
                    max_task_retries=0,
                    # else Ray's control store keeps an entry for each call, in memory
                    enable_task_events=False,
                    **_place(name, node),
                )
                .remote(self, build)
            )
        except ValueError as error:
            raise ConfigError(
                f"namespace {self.namespace!r} of this Ray cluster has an actor {name!r} already, "
                "so another EchoRank runs there: stop it, or set ray.namespace"
            ) from error

    def has(self, name: str) -> bool:
        """Whether the namespace has an actor of that name."""
        try:
            self._handle(name)
        except ValueError:
            return False
        return True

    def kill(self, name: str) -> None:
        """End an actor for good; ValueError for an unknown name."""
        ray.kill(self._handle(name), no_restart=True)

    def nodes(self) -> frozenset[str]:
        """The live nodes that have processors to give: a head may keep its own to itself."""
        return frozenset(
            each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")
        )

    def end(self, error: BaseException) -> None:
        """Log why, and end this process at once."""
        log.critical("this process ends and Ray starts another", exc_info=error)
        logging.shutdown()
        os._exit(1)

    def _handle(self, name: str) -> Any:
        return ray.get_actor(name, self.namespace)


def begin(handle: Any, method: Callable[[Any, *Ts], Any], *args: *Ts) -> Any:
    """The call of a method of an actor, for `ray.get`; for who has no event loop."""
    return handle.call.remote(method.__qualname__, *args)


def _named(name: str) -> type[Actor]:
    """The one class of actors, by the name that `ps` and Ray's logs show."""
    return type(name, (Actor,), {})


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
