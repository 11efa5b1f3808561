"""How long it takes until everything works again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

PAUSE_S = 0.05
TRY_S = 1.0


class NotRecovered(AssertionError):
    """The system does not work again in time."""


def until(
    condition: Callable[[], bool],
    what: str,
    deadline: float,
    meanwhile: Callable[[], None] | None = None,
) -> float:
    """The moment from which on the condition holds;
    NotRecovered after `deadline`, both of the monotonic clock.

    `meanwhile` is called again and again.
    """
    pause = threading.Event()  # never set: waiting for it is the pause
    while not condition():
        if meanwhile is not None:
            meanwhile()
        if time.monotonic() > deadline:
            raise NotRecovered(f"{what}: not in time")
        pause.wait(PAUSE_S)
    return time.monotonic()


def ended(pids: Collection[int]) -> bool:
    """Whether none of these processes runs any more."""
    return not any(map(_runs, pids))


class Gateway:
    """What somebody outside sees of a system: whether clicks are in the states,
    owners answer, and health passes.

    Each question has a connection of its own: what a client's old one costs is the counting
    client's to see.
    """

    def __init__(self, address: str, users: Mapping[int, str]) -> None:
        # a user of each partition
        self._address = address
        self._users = users

    def shows(self, partition: int, end: int, *, owner: bool = False) -> bool:
        """Whether an answer comes from a state up to `end`;
        with `owner` from one that no answer flags as stale.
        """
        user = self._users[partition]
        # not Score, whose calls are counted
        question = pb.RecommendRequest(user=user, k=1, min_offset=end)

        def ask(channel: Any) -> bool:
            origin = pb_grpc.ScoringStub(channel).Recommend(question, timeout=TRY_S).origin
            return bool(origin.offset >= end and not (owner and origin.stale))

        return self._asked(ask)

    def serves(self) -> bool:
        """Whether health says SERVING."""

        def ask(channel: Any) -> bool:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TRY_S
            )
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        return self._asked(ask)

    def scaled(self, shards: int) -> bool:
        """Whether there are so many shards and each has its share;
        asks for them, which may be repeated.
        """

        def ask(channel: Any) -> bool:
            steps = pb_grpc.AdminStub(channel).Scale(pb.ScaleRequest(shards=shards), timeout=TRY_S)
            done = bool(next(steps).done)
            steps.cancel()
            return done

        return self._asked(ask)

    def redundant(self) -> bool:
        """Whether every partition has an owner and a standby that are ready, on different nodes."""

        def ask(channel: Any) -> bool:
            routes = pb_grpc.ScoringStub(channel).Routing(pb.RoutingRequest(), timeout=TRY_S).routes
            pairs = [(route, route.standby) for route in routes]
            return all(
                one.ready and other.ready and _host(one) != _host(other) for one, other in pairs
            )

        return self._asked(ask)

    def _asked(self, ask: Callable[[Any], bool]) -> bool:
        # else a broken connection is shared with its back-off
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            try:
                return ask(channel)
            except grpc.RpcError:
                return False


def _host(replica: pb.PartitionRoute | pb.StandbyRoute) -> str:
    return replica.address.rpartition(":")[0]


def _runs(pid: int) -> bool:
    try:
        _, _, after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return after_name.split()[0] != "Z"  # ended, and not yet noticed by its parent
