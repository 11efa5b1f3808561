"""A gateway with canned answers, on a real port: what the command line talks to in tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

ORIGIN = pb.Origin(
    arm="main",
    model_version="00c0ffee",
    partition=3,
    offset=120,
    state_age_ms=1500,
    level=pb.LEVEL_FULL,
    score_id="s1",
)


class FakeScoring(pb_grpc.ScoringServicer):
    """Scores fall with the item's place; the user `nobody` is refused."""

    def Score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:  # noqa: N802
        if request.user == "nobody":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "user must not be nobody")
        return pb.ScoreResponse(
            origin=ORIGIN, probabilities=[0.5 / (n + 1) for n in range(len(request.items))]
        )

    def Recommend(self, request: pb.RecommendRequest, context: Any) -> pb.RecommendResponse:  # noqa: N802
        kind = "new" if request.exclude_seen else "any"
        items = [pb.RecommendedItem(item=f"{kind}-{n}", probability=0.5) for n in range(request.k)]
        return pb.RecommendResponse(origin=ORIGIN, items=items)

    def Routing(self, request: pb.RoutingRequest, context: Any) -> pb.RoutingResponse:  # noqa: N802
        standby = pb.StandbyRoute(shard="shard-1", address="127.0.0.1:7002", epoch=3)
        owned = pb.PartitionRoute(
            partition=0,
            shard="shard-0",
            address="127.0.0.1:7001",
            epoch=2,
            ready=True,
            standby=standby,
        )
        routes = [pb.PartitionRoute(partition=1), owned]
        arms = [pb.ArmInfo(name="main", model_version="00c0ffee", role="live", weight=10_000)]
        return pb.RoutingResponse(version=7, partitions=2, routes=routes, arms=arms)


@contextmanager
def fake_gateway(status: int = health_pb2.HealthCheckResponse.SERVING) -> Iterator[str]:
    """The address of a gateway that answers until the block ends."""
    server = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_ScoringServicer_to_server(FakeScoring(), server)
    health_servicer = health.HealthServicer()
    health_servicer.set("", status)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
