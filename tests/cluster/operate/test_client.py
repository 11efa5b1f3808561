from __future__ import annotations

import json
import socket
from pathlib import Path

import grpc
import pytest

from actors.calls.retries import WAITS_MS
from actors.errors import ShardUnavailable
from cluster.operate.client import SERVICE_CONFIG, Client
from rpc import echorank_pb2 as pb
from tests.actors.serve.served_shard import ITEMS, served_shard, user_of


async def test_the_client_speaks_the_service(tmp_path: Path) -> None:
    """Score, recommend and inspect reach a server and come back typed."""
    user = user_of(0)
    async with served_shard(tmp_path) as served, Client(served.address) as client:
        offset = served.click(user, *ITEMS[:2])
        assert (
            len((await client.score(user, ITEMS[:3], arm="main", min_offset=offset)).probabilities)
            == 3
        )
        assert len((await client.recommend(user, 4, arm="main")).items) == 4
        assert (await client.inspect(user, arm="main")).events == 2


async def test_an_address_without_a_server_says_what_to_do() -> None:
    """The message has the address and the command that starts the system."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        client = Client(address)
        with pytest.raises(
            ShardUnavailable,
            match=f"nothing answers gRPC at {address} within 0.2 s; start .*echorank up",
        ):
            await client.connect(within_s=0.2)
        await client.close()


class FlakyServer(grpc.GenericRpcHandler):
    """Answers Inspect only from the third try on."""

    def __init__(self) -> None:
        self.tries = 0

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.tries += 1
        if self.tries < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return pb.InspectResponse(events=5).SerializeToString()


async def test_the_service_config_retries_what_is_unavailable() -> None:
    """Two refusals, then the answer, within one call."""
    flaky = FlakyServer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((flaky,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Client(f"127.0.0.1:{port}", timeout_s=10) as client:
        assert (await client.inspect("u")).events == 5
    assert flaky.tries == 3
    await server.stop(0)


def test_the_service_config_tries_as_often_as_servers_count_on() -> None:
    """One try more than there are waits,
    and none is given up because others failed: servers say when to stop.
    """
    config = json.loads(SERVICE_CONFIG.read_text())
    assert config["methodConfig"][0]["retryPolicy"]["maxAttempts"] == len(WAITS_MS) + 1
    assert "retryThrottling" not in config
