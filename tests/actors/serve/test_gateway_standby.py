"""Questions that the gateway puts to a standby, because the owner is dead, silent or not ready."""

from __future__ import annotations

import asyncio
import gc
import socket
from dataclasses import replace
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from actors.errors import ShardUnavailable
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from actors.shard.roles import Role
from cluster.broker.free_port import free_port
from cluster.coordinator.routing import Replica, Route, RoutingTable
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from tests.actors.serve.gateway_door import LOW, Door, closed_door, door
from tests.actors.serve.refusals import refused
from tests.actors.serve.served_shard import ITEMS
from tests.waiting import PATIENCE_S, until

__all__ = ["closed_door", "door"]  # fixtures


def with_standby(door: Door, owner: str, *, owner_ready: bool = True) -> RoutingTable:
    """The table in which partition 0 has its owner at `owner` and its
    standby on the second shard.
    """
    if 0 not in door.shards[1].shard.grants():
        door.shards[1].shard.hold(0, epoch=2, role=Role.STANDBY)
    standby = Replica(shard="shard-1", epoch=2, address=door.shards[1].address, ready=True)
    route = Route(
        owner=Replica(shard="shard-0", epoch=1, address=owner, ready=owner_ready), standby=standby
    )
    return replace(door.table(2), routes=(route, *door.table(2).routes[1:]))


def second_asked(door: Door, reason: str) -> float:
    """How many questions were put to a second shard."""
    return (
        door.metrics.registry.get_sample_value("echorank_second_asked_total", {"reason": reason})
        or 0.0
    )


async def test_the_standby_answers_for_a_dead_owner(door: Door) -> None:
    """At once, and marked stale, since clicks may be missing."""
    door.gateway.follow(with_standby(door, f"127.0.0.1:{free_port()}"))
    answer = await door.stub.Score(pb.ScoreRequest(user=LOW, items=ITEMS[:2]), timeout=PATIENCE_S)
    assert (answer.origin.partition, answer.origin.stale) == (0, True)
    assert second_asked(door, "unavailable") == 1


async def test_the_standby_answers_for_an_owner_that_hangs(door: Door) -> None:
    """A stopped process keeps its connections and answers nothing;
    the call ends long before its deadline.
    """
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        door.gateway.follow(with_standby(door, f"127.0.0.1:{hung.getsockname()[1]}"))
        answer = await door.stub.Score(
            pb.ScoreRequest(user=LOW, items=ITEMS[:2]), timeout=PATIENCE_S
        )
    assert (answer.origin.partition, answer.origin.stale) == (0, True)
    assert second_asked(door, "silent") == 1


async def test_the_owner_may_still_answer_when_the_standby_fails(door: Door) -> None:
    """What counts is the first good answer, of whomever:
    here the owner, which waits for a click.
    """
    door.gateway.follow(with_standby(door, door.shards[0].address))
    door.shards[1].shard.release(0)
    request = pb.ScoreRequest(user=LOW, items=ITEMS[:2], min_offset=1)
    waiting = asyncio.ensure_future(door.stub.Score(request, timeout=PATIENCE_S))
    await until(lambda: second_asked(door, "silent"))
    await asyncio.to_thread(door.shards[0].click, LOW, ITEMS[0])
    assert (await waiting).origin.offset == 1


class Gated(Gateway):
    """Its shards answer all at once, when `gate` opens; those called bad by failing."""

    gate = asyncio.Event()

    async def _ask(self, address: str, question: Any) -> bytes:
        await self.gate.wait()
        if address == "bad":
            raise ShardUnavailable("too late to matter")
        return b"good"


async def test_errors_that_lost_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several answers may come at one moment; asyncio complains of errors that nobody took up."""
    monkeypatch.setattr("actors.serve.gateway.HEDGE_S", 0.001)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gateway = Gated(
        limits=RequestLimits(), salt="", message_bytes_max=1, metrics=Metrics(CollectorRegistry())
    )
    answer = asyncio.ensure_future(gateway._answer(["bad"] * 3 + ["good"] + ["bad"] * 3, None))
    registry = gateway._metrics.registry
    reason = {"reason": "silent"}
    await until(
        lambda: (registry.get_sample_value("echorank_second_asked_total", reason) or 0) >= 6
    )
    gateway.gate.set()
    assert await answer == b"good"
    gc.collect()
    assert not complaints


async def test_a_refusal_is_final(door: Door) -> None:
    """The standby would refuse the same."""
    door.gateway.follow(with_standby(door, door.shards[0].address))
    error = await refused(
        door.stub.Score(pb.ScoreRequest(user=LOW, items=["a"] * 21), timeout=PATIENCE_S)
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert second_asked(door, "unavailable") + second_asked(door, "silent") == 0


async def test_an_owner_that_is_not_ready_is_passed_over(door: Door) -> None:
    """Where the table says that the owner restores, or is dead,
    its ready standby is asked first.
    """
    door.gateway.follow(with_standby(door, door.shards[0].address, owner_ready=False))
    answer = await door.stub.Score(pb.ScoreRequest(user=LOW, items=ITEMS[:2]), timeout=PATIENCE_S)
    assert answer.origin.stale
    assert second_asked(door, "unavailable") + second_asked(door, "silent") == 0
