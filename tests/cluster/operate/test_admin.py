"""The Admin service over real gRPC, with a coordinator and shards that are told what to say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from actors.calls.admission import Bounds
from actors.calls.interceptor import ADMIN, SERVICE, RequestInterceptor
from actors.calls.server import RpcServer
from actors.calls.status import details_of
from actors.errors import ErasureIncomplete, InvalidRequest, NotOwner, ShardUnavailable
from actors.shard.held import Fingerprint
from cluster.cli.main import app
from cluster.coordinator.coordinator import Progress
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.operate import admin_client
from cluster.operate.admin import Admin
from cluster.operate.admin_client import AdminClient
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from tests.actors.faulty_fs import Disk
from tests.cluster.operate.erasable import USER, Deployment

TOKEN = "open-sesame"
TABLE = RoutingTable(
    version=1,
    routes=(
        Route(owner=Replica(shard="shard-0", epoch=1), standby=Replica(shard="shard-1", epoch=2)),
        Route(owner=Replica(shard="shard-1", epoch=1)),
        Route(owner=Replica(shard="shard-0", epoch=1)),
    ),
)
BEGUN = Progress(2, 3, 1, "1 partition")
HALF = Progress(3, 3, 1, "half a partition")
DONE = Progress(3, 3, 0, "")


@dataclass
class FakeCoordinator:
    """Says `steps` one after the other."""

    steps: list[Progress] = field(default_factory=lambda: [BEGUN, BEGUN, HALF, DONE])
    asked: list[int | str] = field(default_factory=list)

    async def scale(self, shards: int) -> Progress:
        """At most three."""
        self.asked.append(shards)
        if shards > 3:
            raise InvalidRequest("shards", f"{shards} shards for 3 partitions; ask for 1 to 3")
        return self.steps.pop(0)

    async def drain(self, shard: str) -> Progress:
        """There is only shard-0."""
        self.asked.append(shard)
        if shard != "shard-0":
            raise NotOwner(f"shard {shard!r} is not part of this deployment, which has shard-0")
        return self.steps.pop(0)

    async def progress(self) -> Progress:
        """The next step."""
        return self.steps.pop(0)


@dataclass
class FakeReplicas:
    """Saves up to 100 plus the partition's number; one shard may be down."""

    down: str = ""

    async def snapshot(self, shard: str, partitions: Sequence[int]) -> dict[int, int]:
        """As above."""
        if shard == self.down:
            raise ShardUnavailable(f"{shard} does not answer snapshot")
        return {partition: 100 + partition for partition in partitions}

    async def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """The shard's name as digest."""
        return {"main": Fingerprint(partition + 7, shard)}


@dataclass
class Desk:
    """An admin service on a real port."""

    address: str
    coordinator: FakeCoordinator
    replicas: FakeReplicas
    metrics: Metrics
    table: RoutingTable | None = TABLE

    def counted(self, method: str, code: str) -> float:
        """How many calls ended so."""
        labels = {"method": method, "code": code}
        return self.metrics.registry.get_sample_value("echorank_requests_total", labels) or 0.0


async def erased(user: str) -> pb.EraseReceipt:
    """A receipt for anybody but one."""
    if user == "stuck":
        raise ErasureIncomplete("the user is not erased everywhere: shard-1 sleeps")
    places = [pb.ErasedPlace(place="state/main", removed=1, digest_before="c0ffee", note="shard-0")]
    return pb.EraseReceipt(user_key=255, partition=1, until=70, places=places)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A service that wants the token; its queue is full for everybody but operators."""
    coordinator = FakeCoordinator()
    replicas = FakeReplicas()
    metrics = Metrics(CollectorRegistry())
    made: list[Desk] = []
    wait = lambda _: asyncio.sleep(0)  # noqa: E731
    admin = Admin(
        coordinator=coordinator,
        replicas=replicas,
        table=lambda: made[0].table,
        erase=erased,
        token=TOKEN,
        wait=wait,
    )
    server = RpcServer(
        admin.add_to, RequestInterceptor(metrics, Bounds(queue_max=0)), 65_536, (SERVICE, ADMIN)
    )
    made.append(Desk(await server.start("127.0.0.1", 0), coordinator, replicas, metrics))
    await server.set_serving(True)
    yield made[0]
    await server.stop(grace_s=0)


@pytest.fixture
async def admin(desk: Desk) -> AsyncIterator[AdminClient]:
    """A client with the token."""
    async with AdminClient(desk.address, token=TOKEN) as client:
        yield client


async def test_scaling_reports_each_change(desk: Desk, admin: AdminClient) -> None:
    """One message for each change, and the last one is done."""
    steps = [step async for step in admin.scale(3)]
    assert [
        (step.shards_now, step.partitions_to_move, step.done, step.message) for step in steps
    ] == [
        (2, 1, False, "1 partition"),
        (3, 1, False, "half a partition"),
        (3, 0, True, "done"),
    ]
    assert desk.counted("Scale", "OK") == 1


async def test_a_shard_is_drained(desk: Desk, admin: AdminClient) -> None:
    """With the same progress."""
    assert [step.done async for step in admin.drain("shard-0")] == [False, False, True]
    assert desk.coordinator.asked == ["shard-0"]


async def test_what_cannot_be_asked_names_the_field(admin: AdminClient) -> None:
    """Too many shards, an unknown shard and an unknown partition are
    INVALID_ARGUMENT, with the values.
    """
    calls = {
        "shards": (anext(aiter(admin.scale(9))), "9 shards for 3 partitions"),
        "shard": (anext(aiter(admin.drain("shard-9"))), "'shard-9' is not part of this deployment"),
        "partitions": (admin.snapshot([3]), "there is no partition 3; ask for 0 to 2"),
        "partition": (admin.digest(-1), "there is no partition -1"),
    }
    for name, (call, says) in calls.items():
        with pytest.raises(grpc.aio.AioRpcError, match=says) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        [violations] = [each for each in details_of(raised.value) if isinstance(each, BadRequest)]
        assert violations.field_violations[0].field == name


async def test_owners_save_their_partitions(desk: Desk, admin: AdminClient) -> None:
    """All of them, or those that are named; a shard that is down makes the call fail."""
    assert await admin.snapshot() == {0: 100, 1: 101, 2: 102}
    assert await admin.snapshot([2, 2]) == {2: 102}
    desk.replicas.down = "shard-1"
    assert await admin.snapshot([0]) == {0: 100}
    with pytest.raises(grpc.aio.AioRpcError, match="shard-1 does not answer snapshot") as raised:
        await admin.snapshot()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_owner_and_standby_show_their_digests(admin: AdminClient) -> None:
    """With role and position."""
    found = [
        (each.shard, each.role, each.arm, each.position, each.digest)
        for each in await admin.digest(0)
    ]
    assert found == [
        ("shard-0", "OWNER", "main", 7, "shard-0"),
        ("shard-1", "STANDBY", "main", 7, "shard-1"),
    ]


async def test_without_a_table_shards_cannot_be_asked(desk: Desk, admin: AdminClient) -> None:
    """UNAVAILABLE: it comes."""
    desk.table = None
    with pytest.raises(grpc.aio.AioRpcError, match="no routing table yet") as raised:
        await admin.snapshot()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("token", [None, "guess", TOKEN + "é"])
async def test_who_does_not_know_the_token_is_refused(desk: Desk, token: str | None) -> None:
    """UNAUTHENTICATED for every method, before anything is done."""
    if token and not token.isascii():
        token = token.encode().hex()  # gRPC itself refuses the other
    async with AdminClient(desk.address, token=token) as stranger:
        calls = (
            anext(aiter(stranger.scale(3))),
            anext(aiter(stranger.drain("shard-0"))),
            stranger.snapshot(),
        )
        for call in (*calls, stranger.digest(0)):
            with pytest.raises(grpc.aio.AioRpcError, match="authorization: Bearer TOKEN") as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert desk.coordinator.asked == []
    assert desk.counted("Scale", "UNAUTHENTICATED") == 1


async def test_health_and_reflection_know_the_service(desk: Desk) -> None:
    """Beside the scoring service."""
    async with grpc.aio.insecure_channel(desk.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=ADMIN))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [listed] = [each async for each in reflection.ServerReflectionInfo(iter([request]))]
    assert ADMIN in {service.name for service in listed.list_services_response.service}


async def run(*args: str) -> Result:
    """The command line, beside the server's event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, args)


async def test_the_command_line_scales(desk: Desk) -> None:
    """It waits until all is done and says so; a refusal is one line and exit code 1."""
    done = await run("scale", "--shards", "3", "--address", desk.address, "--token", TOKEN)
    assert (done.exit_code, done.stdout) == (0, "3 shards hold all partitions.\n")
    refused = await run("scale", "-n", "9", "-a", desk.address, "--token", TOKEN)
    assert refused.exit_code == 1
    assert refused.stderr.endswith(
        "answered INVALID_ARGUMENT: 9 shards for 3 partitions; ask for 1 to 3\n"
    )


async def test_the_command_line_drains_and_saves(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token comes from the settings, too; without it the message says how to give it."""
    refused = await run("drain", "shard-0", "-a", desk.address)
    assert refused.exit_code == 1
    assert "UNAUTHENTICATED" in refused.stderr
    assert "ECHORANK__SERVING__ADMIN_TOKEN" in refused.stderr
    monkeypatch.setenv("ECHORANK__SERVING__ADMIN_TOKEN", TOKEN)
    assert (await run("drain", "shard-0", "-a", desk.address)).stdout == "shard-0 is empty.\n"
    saved = await run("snapshot", "-p", "1", "-a", desk.address)
    assert saved.stdout == "partition 1: every click below offset 101 is in a snapshot\n"
    assert '"1": 101' in (await run("snapshot", "--json", "-a", desk.address)).stdout


async def test_the_command_line_erases(desk: Desk, tmp_path: Path) -> None:
    """A table, or JSON; the receipt in a file; nothing without a yes;
    exit code 1 until everything is done.
    """
    there = "--address", desk.address, "--token", TOKEN
    shown = await run("erase", "anna", "--yes", "--out", str(tmp_path / "receipt.json"), *there)
    assert shown.exit_code == 0
    assert "User 00000000000000ff of partition 1, clicks below 70:" in shown.stdout
    assert all(text in shown.stdout for text in ("state/main", "c0ffee", "shard-0"))
    printed = await run("erase", "anna", "--yes", "--json", *there)
    assert json.loads(printed.stdout) == json.loads((tmp_path / "receipt.json").read_text())
    unasked = await run("erase", "anna", *there)
    assert (
        unasked.exit_code,
        "nobody is here to ask whether to erase user anna" in unasked.stderr,
    ) == (2, True)
    stuck = await run("erase", "stuck", "--yes", *there)
    assert (stuck.exit_code, "UNAVAILABLE: the user is not erased everywhere" in stuck.stderr) == (
        1,
        True,
    )


async def test_erasing_needs_the_token_and_a_system(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the one it is refused, without the other the message says what to start."""
    refused = await run("erase", "anna", "--yes", "--address", desk.address)
    assert (refused.exit_code, "UNAUTHENTICATED" in refused.stderr) == (1, True)
    monkeypatch.setattr(admin_client, "REACH_S", 0.2)
    down = await run("erase", "anna", "--yes", "--address", "127.0.0.1:1")
    assert (down.exit_code, "start the system with `echorank up`" in down.stderr) == (1, True)


async def test_a_user_is_erased_over_grpc() -> None:
    """Service, orchestration and shards together:
    the receipt arrives as it was made, and the user is gone.
    """
    deployment = Deployment(Disk()).hold().fold(60).archived(60)
    admin = Admin(
        coordinator=FakeCoordinator(),
        replicas=FakeReplicas(),
        table=lambda: TABLE,
        erase=deployment.erasure.erase,
        token=None,
    )
    metrics = Metrics(CollectorRegistry())
    server = RpcServer(
        admin.add_to, RequestInterceptor(metrics, Bounds(queue_max=0)), 65_536, (SERVICE, ADMIN)
    )
    async with AdminClient(await server.start("127.0.0.1", 0)) as client:
        receipt = await client.erase(USER)
        with pytest.raises(grpc.aio.AioRpcError, match="user is empty"):
            await client.erase("")
    await server.stop(grace_s=0)
    assert {place.place: place.removed for place in receipt.places}["standby/other"] == 1
    assert deployment.rows(USER) == [None] * 4
