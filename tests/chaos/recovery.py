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


def until(condition: Callable[[], bool], what: str, deadline: float) -> float:
    """The moment from which on the condition holds; NotRecovered after `deadline`, both of the monotonic clock."""
    pause = threading.Event()  # never set: waiting for it is the pause
    while not condition():
        if time.monotonic() > deadline:
            raise NotRecovered(f"{what}: not in time")
        pause.wait(PAUSE_S)
    return time.monotonic()


def until_ended(pids: Collection[int], deadline: float) -> float:
    """The moment when none of these processes runs any more."""
    return until(lambda: not any(map(_runs, pids)), f"processes {sorted(pids)} to end", deadline)


def until_fresh_and_serving(address: str, users: Mapping[int, str], ends: Mapping[int, int], deadline: float) -> float:
    """The moment when a user of each partition was answered from a state up to its end, and health says SERVING.

    Each question has a connection of its own: what a client's old one costs is the counting client's to see.
    """
    for partition, end in ends.items():
        until(lambda p=partition, e=end: _visible(address, users[p], e), f"partition {partition} up to {end}", deadline)
    return until(lambda: _serving(address), "health of the gateway", deadline)


def _runs(pid: int) -> bool:
    try:
        _, _, after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return after_name.split()[0] != "Z"  # ended, and not yet noticed by its parent


def _visible(address: str, user: str, end: int) -> bool:
    question = pb.RecommendRequest(user=user, k=1, min_offset=end)  # not Score, whose calls are counted

    def ask(channel: Any) -> bool:
        return bool(pb_grpc.ScoringStub(channel).Recommend(question, timeout=TRY_S).origin.offset >= end)

    return _asked(address, ask)


def _serving(address: str) -> bool:
    def ask(channel: Any) -> bool:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TRY_S)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return _asked(address, ask)


def _asked(address: str, ask: Callable[[Any], bool]) -> bool:
    options = [("grpc.use_local_subchannel_pool", 1)]  # else a broken connection is shared with its back-off
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            return ask(channel)
        except grpc.RpcError:
            return False
