"""The gateway between clients and shards: routing, refusals, health and reflection."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from actors.calls.admission import Bounds
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.calls.status import details_of
from actors.errors import ConfigError
from cluster.broker.free_port import free_port
from rpc import echorank_pb2 as pb
from tests.actors.serve.gateway_door import HIGH, LOW, Door, closed_door, door, opened
from tests.actors.serve.refusals import refused
from tests.actors.serve.served_shard import ITEMS, MESSAGE_BYTES_MAX, PARTITIONS
from tests.waiting import PATIENCE_S, until

__all__ = ["closed_door", "door"]  # fixtures


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
