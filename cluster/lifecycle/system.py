"""A running system, as the process that started it holds it."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

import grpc
import ray
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from actors.backoff import Backoff, Tries
from actors.calls.channels import blocking_channel
from actors.errors import ShardUnavailable
from cluster.broker.broker import Broker
from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.routing import RoutingTable
from cluster.lifecycle.catching_up import CatchingUp
from cluster.names import ARCHIVE, COORDINATOR, GATEWAY, SHARD, ingest_name
from cluster.processes.actor import Actor
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.gateway_process import GatewayProcess
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.ray_calls import begin
from cluster.processes.shard_process import ShardProcess
from cluster.scrape import scrape, values
from cluster.settings.config import Settings
from monitoring.addresses import joined, reachable

log = logging.getLogger(__name__)

CONSTRUCTED_S = 120.0  # the first start on a machine compiles the fold
GRACE_S = 5.0  # for requests in flight
STOP_S = 60.0  # for the last snapshots
ASK_S = 30.0  # a shard that restarts answers within
LOOK_S = 1.0  # how often it is looked whether an actor has died for good
SAY_S = 10.0  # between words about how far catching up is


R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class System:
    """Addresses, process ids and digests of a running system, and the way to stop it."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        actors: Mapping[str, Any],
        *,
        ephemeral_state: bool,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._actors = actors
        self._ephemeral_state = ephemeral_state
        self._stopped = False
        self._readers = [ingest_name(number) for number in range(settings.serving.ingests)]
        if settings.archive.enabled:
            self._readers.append(ARCHIVE)
        serving = settings.serving
        monitoring = settings.monitoring
        self.gateway_address = joined(serving.host, serving.port)
        self.asked_at, self.scraped_at = (
            reachable(each.host, each.port) for each in (serving, monitoring)
        )
        self.monitoring_address = joined(monitoring.host, monitoring.port)
        self.bootstrap_servers = broker.bootstrap_servers
        self.broker_kind = broker.kind

    def wait_constructed(self) -> None:
        """Return when every actor runs; ShardUnavailable, with the reason, if one cannot start."""
        for name, actor in self._actors.items():
            try:
                ray.get(begin(actor, Actor.pid), timeout=CONSTRUCTED_S)
            except (RayActorError, GetTimeoutError) as error:
                raise ShardUnavailable(f"{name} did not start: {error}") from error

    def wait_ready(
        self, timeout_s: float | None = 60.0, say: Callable[[str], None] | None = None
    ) -> None:
        """Return when the gateway says SERVING; without a time-out,
        for as long as catching up takes.

        Meanwhile the gateway answers, from states that say they are stale; `say` is told how far it
        is, line by line.

        Raises:
            ShardUnavailable: with what is missing, if it is not ready in time; with the reason, if
                an actor without which it never will be has died for good.
        """
        began = time.monotonic()
        look_at = say_at = began + LOOK_S
        progress = CatchingUp()
        with blocking_channel(self.asked_at) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while not _is_serving(health):
                now = time.monotonic()
                if timeout_s is not None and now - began > timeout_s:
                    raise ShardUnavailable(f"not ready after {timeout_s:g} s: {self._missing()}")
                if now >= look_at:
                    look_at = now + LOOK_S
                    self.check_alive()
                if say is not None and now >= say_at:
                    say_at = now + SAY_S
                    say(progress.line(now, self._behind(), self._table().not_ready()))
                time.sleep(0.05)

    def check_alive(self) -> None:
        """Raise ShardUnavailable, with the reason,
        if an actor has died that Ray does not start again.

        Shards may come and go; one of them is left at least.
        """
        if self._stopped:  # Ray would start anew to answer
            raise ShardUnavailable("the system has been stopped")
        try:
            alive = set(ray.util.list_named_actors())
        except RayError as error:
            log.warning("Ray does not say which actors live: %s", error)
            return
        dead = [name for name in self._actors if name not in alive and not SHARD.fullmatch(name)]
        if not any(SHARD.fullmatch(name) for name in alive):
            dead += [name for name in self._actors if SHARD.fullmatch(name)]
        for name in dead:
            try:
                ray.get(begin(self._actors[name], Actor.pid), timeout=ASK_S)
            except (RayError, GetTimeoutError) as error:
                raise ShardUnavailable(f"{name} has ended for good: {error}") from error

    def pids(self) -> dict[str, int]:
        """The process id of every actor, once each answers."""
        return {name: self._ask(name, Actor.pid) for name in self._names()}

    def shard_pids(self) -> dict[str, int]:
        """The process id of every shard, once each answers."""
        return {name: self._ask(name, Actor.pid) for name in self._shards()}

    def wait_replaced(self, name: str, pid: int) -> int:
        """Return the process id of an actor once it is not `pid` any more and answers."""
        deadline = time.monotonic() + ASK_S
        while (now := self._ask(name, Actor.pid)) == pid:
            if time.monotonic() > deadline:
                raise ShardUnavailable(f"{name} is still process {pid} after {ASK_S:g} s")
            time.sleep(0.05)
        return now

    def digests(self) -> dict[tuple[int, str], str]:
        """The digest of each partition's and arm's states at its owner; equal for equal logs.

        Shards are asked one after the other, so one that moves meanwhile may be missed by both its
        owners: then all are asked again. ShardUnavailable if some partition has no owner for long.
        """
        tries = Tries(Backoff(min_s=0.05, max_s=0.05, patience_s=ASK_S), time.monotonic)
        while True:
            digests: dict[tuple[int, str], str] = {}
            for name in self._shards():
                digests |= self._ask(name, ShardProcess.digests)
            missing = set(range(self._settings.topics.partitions)) - {
                partition for partition, _ in digests
            }
            if not missing:
                return digests
            unowned = f"no shard owns partitions {sorted(missing)} after {ASK_S:g} s"
            time.sleep(tries.failed(ShardUnavailable(unowned)))

    def positions(self) -> dict[int, int]:
        """The next offset of each partition at its owner."""
        positions: dict[int, int] = {}
        for name, partitions in self._owners().items():
            found = self._ask(name, ShardProcess.positions)
            positions |= {p: at for p, at in found.items() if p in partitions}
        return positions

    def epochs(self) -> list[int]:
        """The epoch under which each partition is owned: where it is the same before and after,
        nobody took the partition over or restored it in between.
        """
        return [route.owner.epoch for route in self._table().routes]

    def stop(self) -> None:
        """Drain the gateway, stop reading, save archive and states,
        then end actors, Ray and broker; once.

        Whatever fails on the way, or interrupts it, all that follows is done.
        """
        if self._stopped:
            return
        self._stopped = True
        with ExitStack() as end:
            if self._ephemeral_state:
                end.callback(shutil.rmtree, self._settings.state.directory, ignore_errors=True)
            end.callback(self._broker.stop)
            end.callback(ray.shutdown)
            end.callback(self.kill)
            self._stop_gently([GATEWAY])
            self._stop_gently(self._readers)
            self._stop_gently(self._shards())

    def kill(self) -> None:
        """End the actors at once; Ray does not start them again.
        Those of another system are left alone.
        """
        for name in self._names():
            try:
                ray.kill(self._actor(name), no_restart=True)
            except (RayError, ValueError) as error:
                log.info("%s has ended already: %s", name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _ask(
        self, name: str, method: Callable[[Any, *Ts], Coroutine[Any, Any, R]], *args: *Ts
    ) -> R:
        tries = Tries(Backoff(min_s=0.1, max_s=0.1, patience_s=ASK_S), time.monotonic)
        while True:
            try:
                answer: R = ray.get(begin(self._actor(name), method, *args), timeout=ASK_S)
                return answer
            except (RayActorError, GetTimeoutError, ValueError) as error:
                # Ray knows no actor of that name, just now
                silent = f"{name} does not answer {method.__name__} within {ASK_S:g} s: {error}"
                time.sleep(tries.failed(ShardUnavailable(silent)))

    def _stop_gently(self, names: Iterable[str]) -> None:
        calls = {}
        for name in names:
            try:
                calls[name] = _begin_stop(name, self._actor(name))
            except (KeyError, RayError, ValueError) as error:  # KeyError: it was not started
                log.warning("%s cannot be asked to stop: %s", name, error)
        for name, call in calls.items():
            try:
                ray.get(call, timeout=STOP_S)
            except (RayError, GetTimeoutError) as error:
                log.warning("%s did not stop by itself and is killed: %s", name, error)

    def _behind(self) -> dict[int, int]:
        """The lag of each partition, in records, as far as ingest measures it."""
        try:
            scraped = scrape(self.scraped_at)
        except ShardUnavailable:
            return {}
        found = values(scraped, "echorank_ingest_lag_records")
        return {int(labels["partition"]): int(lag) for labels, lag in found if math.isfinite(lag)}

    def _missing(self) -> str:
        return (
            f"partitions {self._table().not_ready()} have no owner or are catching up; the "
            "actors' logs say why"
        )

    def _names(self) -> list[str]:
        """All actors: those that were started here,
        and the shards of now; the coordinator first.
        """
        return [*(name for name in self._actors if not SHARD.fullmatch(name)), *self._shards()]

    def _shards(self) -> list[str]:
        """The shards of now: scaling adds some and removes others.
        None if the coordinator here is another system's.
        """
        if COORDINATOR not in self._actors:
            return []
        return sorted(name for name in ray.util.list_named_actors() if SHARD.fullmatch(name))

    def _actor(self, name: str) -> Any:
        """An actor's handle; a shard that was stopped and started again is
        another actor of the same name.
        """
        return ray.get_actor(name) if SHARD.fullmatch(name) else self._actors[name]

    def _owners(self) -> dict[str, set[int]]:
        owners: dict[str, set[int]] = {}
        for partition, route in enumerate(self._table().routes):
            owners.setdefault(route.owner.shard, set()).add(partition)
        return owners

    def _table(self) -> RoutingTable:
        return self._ask(COORDINATOR, Coordinator.wait_newer, 0, 0.0)


def _begin_stop(name: str, actor: Any) -> Any:
    if SHARD.fullmatch(name):
        return begin(actor, ShardProcess.stop, GRACE_S)
    if name == GATEWAY:
        return begin(actor, GatewayProcess.stop, GRACE_S)
    return begin(actor, ArchiveProcess.stop if name == ARCHIVE else IngestProcess.stop)


def _is_serving(health: Any) -> bool:
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
