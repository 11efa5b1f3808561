"""How clients reach a server: proxies, IPv6, pings, odd paths."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.channels import blocking_channel, channel
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.errors import ConfigError
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from cluster.broker.free_port import check_free
from cluster.operate.client import Client
from cluster.scrape import scrape
from monitoring.discovery import Target
from monitoring.exporter import Exporter
from monitoring.metrics import Metrics
from tests.actors.serve.gateway_door import Door, closed_door, door, opened
from tests.actors.serve.refusals import refused
from tests.actors.serve.served_shard import served_shard

__all__ = ["closed_door", "door"]  # fixtures

ROOT = Path(__file__).parents[3]
NOBODY = "http://127.0.0.1:9"  # the discard port, where nothing listens
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING = 6
GOAWAY = 7
SETTINGS = 4


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names a proxy for the outside world, which answers nothing."""
    for name in (
        "http_proxy",
        "https_proxy",
        "grpc_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
    ):
        monkeypatch.setenv(name, NOBODY)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("proxy")
async def test_no_channel_goes_through_a_proxy(tmp_path: Path) -> None:
    """A client asks the gateway and the gateway a shard, both directly;
    so does whoever waits for health.
    """
    async with opened(tmp_path) as door, Client(door.address) as client:
        door.gateway.follow(door.table(1))
        assert (await client.inspect("user-1")).origin.arm == "main"
        with blocking_channel(door.address) as waiting:
            await asyncio.to_thread(grpc.channel_ready_future(waiting).result, 10)


@pytest.mark.usefixtures("proxy")
def test_no_scrape_goes_through_a_proxy() -> None:
    """The list of processes and their metrics are read directly."""
    target: list[Target] = []
    with Exporter(CollectorRegistry(), targets=lambda: target) as exporter:
        target.append(Target(kind="gateway", name="gateway", address=exporter.address))
        [scraped] = scrape(exporter.address)
    assert scraped.error is None
    assert scraped.samples


def test_channels_and_scrapes_are_made_in_one_place() -> None:
    """So that no sibling of theirs goes through a proxy."""
    makes = re.compile(r"\binsecure_channel\(|\burlopen\(|secure_channel\(")
    folders = ("actors", "cluster", "monitoring", "training", "model")
    made = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path for path in made if makes.search((ROOT / path).read_text())} == {
        "actors/calls/channels.py"
    }


@pytest.mark.parametrize("host", ["::1", "::", "[::1]"])
async def test_servers_listen_on_ipv6(tmp_path: Path, host: str) -> None:
    """gRPC and metrics; their addresses have brackets and can be used
    as they are; /sd lists them.
    """
    check_free("serving", host, 0)
    metrics = Metrics(CollectorRegistry())
    gateway = Gateway(limits=RequestLimits(), salt="s", message_bytes_max=65_536, metrics=metrics)
    server = RpcServer(gateway.add_to, RequestInterceptor(metrics, Bounds(queue_max=8)), 65_536)
    async with served_shard(tmp_path) as shard, opened(tmp_path / "door") as door:
        address = await server.start(host, 0)
        gateway.follow(door.table(1, (shard.address, shard.address)))
        async with Client(address.replace("[::]", "[::1]")) as client:
            assert (await client.inspect("user-1")).origin.arm == "main"
        await server.stop(0)
        await gateway.close()
    assert re.fullmatch(r"\[::1?\]:\d+", address)
    target: list[Target] = []
    with Exporter(
        metrics.registry, host=host, advertised_host="::1", targets=lambda: target
    ) as exporter:
        target.append(Target(kind="gateway", name="gateway", address=exporter.address))
        assert re.fullmatch(r"\[::1\]:\d+", exporter.address)
        [scraped] = scrape(exporter.address)
        with build_opener(ProxyHandler({})).open(f"http://{exporter.address}/sd") as listed:
            assert json.loads(listed.read())[0]["targets"] == [exporter.address]
    assert scraped.error is None


def test_a_port_in_use_on_ipv6_is_named() -> None:
    """Before anything starts, as on IPv4."""
    with Exporter(CollectorRegistry(), host="::1") as exporter:
        port = int(exporter.address.rpartition(":")[2])
        with pytest.raises(
            ConfigError,
            match=rf"serving.port {port} on ::1 cannot be used \(Address already in use\)",
        ):
            check_free("serving", "::1", port)


@pytest.mark.parametrize("address", ["foo", "::1:50051", "http://127.0.0.1:50051"])
def test_untidy_addresses_are_refused_by_whoever_connects(address: str) -> None:
    """One error with an example, instead of whatever gRPC makes of it."""
    for connect in (channel, blocking_channel, Client):
        with pytest.raises(ConfigError, match="no host:port; write it like gateway:50051"):
            connect(address)


@pytest.mark.parametrize(
    "path",
    ["/x", "x", "/", "/a/b/c/d", "/echorank.v1.Scoring", "/echorank.v1.Scoring/Score/x", "//"],
)
async def test_an_odd_path_is_unimplemented(door: Door, path: str) -> None:
    """As any method that is not there; never UNKNOWN with a Python error."""
    error = await refused(door.channel.unary_unary(path, None, None)(b"", timeout=10))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_clients_may_ping_often(door: Door) -> None:
    """Five pings at intervals of a good second on an idle connection are
    answered, and nobody says GOAWAY.
    """
    host, _, port = door.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + frame(SETTINGS, b""))
    answered = 0
    for _ in range(5):
        writer.write(frame(PING, b"\0" * 8))
        try:
            async with asyncio.timeout(1.1):
                while True:
                    kind, flags = await read_frame(reader)
                    answered += kind == PING and flags == 1
        except TimeoutError:
            continue
    writer.close()
    assert answered == 5


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 without flags, of the connection."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + b"\0" * 4 + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int]:
    """The next frame's kind and flags."""
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    assert head[3] != GOAWAY, payload
    return head[3], head[4]
