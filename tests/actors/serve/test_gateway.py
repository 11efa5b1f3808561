from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.calls.status import details_of
from actors.errors import ConfigError, ShardUnavailable
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from actors.serve.traffic import Arm
from actors.shard.roles import Role
from cluster.broker.free_port import free_port
from cluster.coordinator.routing import Replica, Route, RoutingTable
from model.config import ModelConfig
from model.network.export import random_bundle
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc
from tests.actors.serve.served_shard import (
    EIGHT,
    ITEMS,
    MESSAGE_BYTES_MAX,
    PARTITIONS,
    ServedShard,
    served_shard,
    user_of,
)
from tests.waiting import PATIENCE_S, until

# of shard-0 and of shard-1
LOW = user_of(0)
HIGH = user_of(3)
BUNDLES = {
    name: random_bundle(ModelConfig(), ITEMS, seed) for seed, name in enumerate(("main", "next"))
}
ARMS = (
    Arm(name="main", model_version=BUNDLES["main"].version, role="live", weight=10_000),
    Arm(name="next", model_version=BUNDLES["next"].version, role="shadow", weight=0),
)


@dataclass
class Door:
    """A gateway with its server, and two shards behind it."""

    gateway: Gateway
    server: RpcServer
    address: str
    channel: grpc.aio.Channel
    stub: pb_grpc.ScoringStub
    metrics: Metrics
    shards: tuple[ServedShard, ServedShard]

    def table(self, version: int, addresses: tuple[str, str] | None = None) -> RoutingTable:
        """Partitions 0 and 1 at the first address, 2 and 3 at the second."""
        first, second = addresses or (self.shards[0].address, self.shards[1].address)
        owners = [
            Replica(shard=f"shard-{p // 2}", epoch=1, address=(first, second)[p // 2])
            for p in range(PARTITIONS)
        ]
        routes = [Route(owner=owner) for owner in owners]
        return RoutingTable(version=version, routes=tuple(routes), arms=ARMS)


@asynccontextmanager
async def opened(directory: Path, bounds: Bounds = EIGHT) -> AsyncIterator[Door]:
    """A gateway before two shards, without a routing table yet."""
    async with AsyncExitStack() as stack:
        shards = [
            await stack.enter_async_context(
                served_shard(
                    directory, name=f"shard-{n}", partitions=(2 * n, 2 * n + 1), arms=BUNDLES
                )
            )
            for n in (0, 1)
        ]
        metrics = Metrics(CollectorRegistry())
        limits = RequestLimits(id_bytes_max=16)
        gateway = Gateway(
            limits=limits, salt="s", message_bytes_max=MESSAGE_BYTES_MAX, metrics=metrics
        )
        server = RpcServer(gateway.add_to, RequestInterceptor(metrics, bounds), MESSAGE_BYTES_MAX)
        address = await server.start("127.0.0.1", 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub = pb_grpc.ScoringStub(channel)
        yield Door(gateway, server, address, channel, stub, metrics, (shards[0], shards[1]))
        await server.stop(grace_s=0)
        await gateway.close()


@pytest.fixture
async def closed_door(tmp_path: Path) -> AsyncIterator[Door]:
    """A gateway that has no routing table yet."""
    async with opened(tmp_path) as door:
        yield door


@pytest.fixture
async def door(closed_door: Door) -> Door:
    """A gateway that knows the way to both shards."""
    closed_door.gateway.follow(closed_door.table(1))
    return closed_door


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize(("user", "shard"), [(LOW, 0), (HIGH, 1)])
async def test_each_user_is_answered_by_the_owner(door: Door, user: str, shard: int) -> None:
    """Score, Recommend and Inspect reach the shard of the user's partition, and see its clicks."""
    door.shards[shard].click(user, *ITEMS[:3])
    answers = [
        await door.stub.Score(pb.ScoreRequest(user=user, items=ITEMS[:2], request_id="7")),
        await door.stub.Recommend(pb.RecommendRequest(user=user, k=3)),
        await door.stub.Inspect(pb.InspectRequest(user=user)),
    ]
    assert [answer.origin.offset for answer in answers] == [3, 3, 3]
    assert answers[0].request_id == "7"
    assert len(answers[1].items) == 3
    assert answers[2].events == 3


async def test_a_stream_may_ask_for_users_of_different_shards(door: Door) -> None:
    """Each answer comes from its user's partition, in the order of the requests."""
    users = [LOW, HIGH, LOW]
    requests = (pb.ScoreRequest(user=user, items=ITEMS[:1]) for user in users)
    partitions = [response.origin.partition async for response in door.stub.ScoreStream(requests)]
    assert partitions == [0, 3, 0]


async def test_what_a_shard_refuses_reaches_the_client_unchanged(door: Door) -> None:
    """Code, message and details of the shard's validation pass through."""
    error = await refused(door.stub.Score(pb.ScoreRequest(user=LOW, items=["a"] * 21)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "21 items; send 1 to 20, in several requests if need be"
    assert any(isinstance(each, BadRequest) for each in details_of(error))


@pytest.mark.parametrize(
    ("user", "says"), [("", "user is empty"), ("x" * 17, "17 bytes long; at most 16")]
)
async def test_users_are_checked_before_they_are_hashed(
    closed_door: Door, user: str, says: str
) -> None:
    """INVALID_ARGUMENT even without a routing table."""
    error = await refused(closed_door.stub.Inspect(pb.InspectRequest(user=user)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in (error.details() or "")


async def test_bytes_that_are_no_request_are_refused(door: Door) -> None:
    """INVALID_ARGUMENT, not INTERNAL."""
    call = door.channel.unary_unary("/echorank.v1.Scoring/Score", None, None)
    error = await refused(call(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message of echorank.v1" in (error.details() or "")


async def test_an_oversized_request_is_refused(door: Door) -> None:
    """RESOURCE_EXHAUSTED by gRPC itself, with both sizes."""
    request = pb.ScoreRequest(user=LOW, items=["x" * MESSAGE_BYTES_MAX])
    error = await refused(door.stub.Score(request))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MESSAGE_BYTES_MAX) in (error.details() or "")


async def test_the_deadline_goes_along(door: Door) -> None:
    """The shard knows the client's deadline, and says in time what was missing."""
    error = await refused(
        door.stub.Score(pb.ScoreRequest(user=LOW, items=["a"], min_offset=5), timeout=1)
    )
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "min_offset is 5" in (error.details() or "")


async def test_without_a_table_everything_is_unavailable(closed_door: Door) -> None:
    """UNAVAILABLE with a delay, for scoring and for routing."""
    for call in (
        closed_door.stub.Inspect(pb.InspectRequest(user="u")),
        closed_door.stub.Routing(pb.RoutingRequest()),
    ):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "no routing table yet" in (error.details() or "")


async def test_a_partition_without_an_owner_is_unavailable(door: Door) -> None:
    """UNAVAILABLE with a delay; the other partitions answer."""
    door.gateway.follow(door.table(2, ("", door.shards[1].address)))
    error = await refused(door.stub.Inspect(pb.InspectRequest(user=LOW), timeout=PATIENCE_S))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "partition 0 has no owner yet" in (error.details() or "")
    assert any(isinstance(each, RetryInfo) for each in details_of(error))
    assert (await door.stub.Inspect(pb.InspectRequest(user=HIGH))).origin.partition == 3


async def test_a_dead_shard_is_unavailable(door: Door) -> None:
    """Without a newer table, the message names the partition and says when to
    retry, while there is time for it.
    """
    door.gateway.follow(door.table(2, (f"127.0.0.1:{free_port()}", door.shards[1].address)))
    began = time.monotonic()
    error = await refused(door.stub.Inspect(pb.InspectRequest(user=LOW), timeout=PATIENCE_S))
    assert time.monotonic() - began < 1
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert any(isinstance(each, RetryInfo) for each in details_of(error))
    assert "the shard of partition 0 does not answer" in (error.details() or "")


async def test_a_call_follows_its_partition_to_the_new_owner(door: Door) -> None:
    """A call that meets a dead shard waits for the next table and is answered by the successor."""
    door.gateway.follow(door.table(2, (f"127.0.0.1:{free_port()}", door.shards[1].address)))
    call = asyncio.ensure_future(door.stub.Inspect(pb.InspectRequest(user=LOW), timeout=PATIENCE_S))
    await until(lambda: door.metrics.registry.get_sample_value("echorank_requests_in_flight"))
    door.gateway.follow(door.table(3))
    assert (await call).origin.partition == 0


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


async def test_routing_answers_the_table(door: Door) -> None:
    """Version, partitions, owners and arms, for clients that route themselves."""
    routing = await door.stub.Routing(pb.RoutingRequest())
    assert routing == door.table(1).to_proto()
    assert [route.address for route in routing.routes] == [
        door.shards[p // 2].address for p in range(PARTITIONS)
    ]


async def test_a_full_gateway_sheds(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED above queue_max, counted by method and code."""
    async with opened(tmp_path, Bounds(queue_max=1)) as door:
        door.gateway.follow(door.table(1))
        request = pb.ScoreRequest(user=LOW, items=ITEMS[:1], min_offset=1)
        waiting = asyncio.ensure_future(door.stub.Score(request, timeout=PATIENCE_S))
        await until(lambda: door.metrics.registry.get_sample_value("echorank_requests_in_flight"))
        error = await refused(door.stub.Inspect(pb.InspectRequest(user=LOW)))
        await asyncio.to_thread(door.shards[0].click, LOW, ITEMS[0])
        assert (await waiting).origin.offset == 1
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    labels = {"method": "Inspect", "code": "RESOURCE_EXHAUSTED"}
    assert door.metrics.registry.get_sample_value("echorank_requests_total", labels) == 1


async def test_health_follows_serving_and_draining(door: Door) -> None:
    """NOT_SERVING, SERVING, and NOT_SERVING for ever while draining;
    overall and for the service.
    """
    health = health_pb2_grpc.HealthStub(door.channel)

    async def seen() -> list[int]:
        services = ("", "echorank.v1.Scoring")
        return [
            (await health.Check(health_pb2.HealthCheckRequest(service=each))).status
            for each in services
        ]

    serving = health_pb2.HealthCheckResponse.SERVING
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert await seen() == [not_serving, not_serving]
    await door.server.set_serving(True)
    assert await seen() == [serving, serving]

    watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == serving
    stopping = asyncio.create_task(door.server.stop(grace_s=5))
    assert (await watch.read()).status == not_serving
    watch.cancel()
    await stopping


async def test_reflection_lists_the_services(door: Door) -> None:
    """grpcurl and its like work without proto files."""
    reflection = reflection_pb2_grpc.ServerReflectionStub(door.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = [each async for each in reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answer.list_services_response.service}
    assert {"echorank.v1.Scoring", "grpc.health.v1.Health"} <= names


async def test_a_port_in_use_is_named(door: Door) -> None:
    """Two servers never share a port; the message names it and what to do."""
    port = int(door.address.rsplit(":", 1)[1])
    second = RpcServer(
        door.gateway.add_to,
        RequestInterceptor(door.metrics, Bounds(queue_max=1)),
        MESSAGE_BYTES_MAX,
    )
    with pytest.raises(
        ConfigError,
        match=rf"cannot listen on 127.0.0.1:{port}: the port is in use.*set serving.host",
    ):
        await second.start("127.0.0.1", port)
