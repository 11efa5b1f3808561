"""What `echorank status` finds wrong, says on top, and fits into 80 columns."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.samples import Sample
from rich.console import Console

from actors.errors import ShardUnavailable
from cluster.operate import status_report
from cluster.operate.client import Client
from cluster.operate.status_report import Report, gather, to_json
from cluster.operate.status_tables import render
from cluster.scrape import Scraped
from rpc import echorank_pb2 as pb

SHARDS = 12
ARMS = ("main", "candidate-with-lrea")
VERSION = "0123456789abcdef"
NOW = datetime.datetime.now(datetime.UTC)
MODEL = {
    "version": VERSION,
    "until": (NOW - datetime.timedelta(days=8)).isoformat(),
    "old_from": (NOW + datetime.timedelta(days=22)).isoformat(),
}


class FakeClient:
    """A client of a gateway that knows the routing table."""

    address = "gateway.echorank.svc:50051"

    def __init__(self, routing: pb.RoutingResponse) -> None:
        self._routing = routing

    async def routing(self) -> pb.RoutingResponse:
        """The table."""
        return self._routing


def routing() -> pb.RoutingResponse:
    """Of a large system with standbys, all ready."""

    def replica(number: int) -> dict[str, Any]:
        return {
            "shard": f"shard-{number % SHARDS}",
            "address": f"10.20.30.{number % SHARDS}:45123",
            "ready": True,
        }

    routes = [
        pb.PartitionRoute(
            partition=partition,
            epoch=3_000_017,
            standby=pb.StandbyRoute(epoch=3_000_018, **replica(partition + 1)),
            **replica(partition),
        )
        for partition in range(24)
    ]
    arms = [
        pb.ArmInfo(name=name, model_version=VERSION, role="live", weight=5_000) for name in ARMS
    ]
    return pb.RoutingResponse(version=1_234, partitions=24, routes=routes, arms=arms)


def healthy() -> dict[str, Scraped]:
    """The metrics of its processes, by name."""
    found = {}
    for number in range(SHARDS):
        samples = [
            Sample("process_resident_memory_bytes", {}, 2.0**31),
            *(Sample("echorank_model_info", {"arm": arm, **MODEL}, 1) for arm in ARMS),
            *(Sample("echorank_state_users", {"arm": arm, "tier": "hot"}, 1e6) for arm in ARMS),
            *(Sample("echorank_state_bytes_per_user", {"arm": arm}, 4096) for arm in ARMS),
            *(Sample("echorank_folded_total", {"arm": arm}, 1e6) for arm in ARMS),
            *(
                Sample("echorank_snapshot_age_seconds", {"partition": str(partition)}, 123_456)
                for partition in range(number, 24, SHARDS)
            ),
        ]
        found[f"shard-{number}"] = process("shard", f"shard-{number}", samples)
    silence = [
        Sample("echorank_log_silence_seconds", {"partition": str(p)}, 0.7) for p in range(24)
    ]
    lag = [
        Sample("echorank_ingest_lag_records", {"partition": str(p)}, 1_234_567) for p in range(24)
    ]
    unread = [Sample("echorank_unread_partitions", {}, 0)]
    found["ingest-0"] = process("ingest", "ingest-0", [*silence, *lag, *unread])
    return found


def process(kind: str, name: str, samples: list[Sample]) -> Scraped:
    """One that answers."""
    return Scraped(
        address="10.20.30.40:45123", labels={"actor": kind, "instance": name}, samples=samples
    )


async def report(
    monkeypatch: pytest.MonkeyPatch,
    scraped: Mapping[str, Scraped],
    table: pb.RoutingResponse | None = None,
    health: str = "SERVING",
) -> Report:
    """What is found out about such a system."""

    async def answer(_: str) -> str:
        return health

    def scrape(_: str) -> list[Scraped]:
        if not scraped:
            raise ShardUnavailable("no list of processes")
        return list(scraped.values())

    monkeypatch.setattr(status_report, "_health", answer)
    monkeypatch.setattr(status_report, "scrape", scrape)
    client: Any = FakeClient(table or routing())
    assert hasattr(Client, "routing")
    return await gather(client, "gateway:9464")


def lines(found: Report, width: int = 80) -> list[str]:
    """As somebody with a terminal of that width sees it."""
    console = Console(file=io.StringIO(), width=width)
    for part in render(found):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


async def test_a_large_healthy_system_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each for health, partitions, arms and processes, nothing wrapped and no number cut."""
    found = await report(monkeypatch, healthy())
    shown = lines(found)
    assert found.not_healthy == []
    assert shown[0] == "gateway.echorank.svc:50051 is SERVING and healthy"
    assert max(map(len, shown)) <= 80
    assert len([line for line in shown if "1,234,567" in line and "123,456 s" in line]) == 24
    assert len(
        [line for line in shown if VERSION in line and "12,000,000" in line and "0.0%" in line]
    ) == len(ARMS)
    assert len([line for line in shown if VERSION in line and " 8 d" in line]) == len(ARMS)
    assert not [line for line in shown if "…" in line and "candidate-wi… " not in line]
    assert len([line for line in shown if "2,048 MiB" in line]) == SHARDS


async def test_an_old_model_is_a_warning_and_no_illness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to users without clicks are old; all others are as good as ever."""
    scraped = healthy()
    old = MODEL | {"old_from": (NOW - datetime.timedelta(days=1)).isoformat()}
    for name, one in scraped.items():
        if name != "ingest-0":
            one.samples[1] = Sample("echorank_model_info", {"arm": "main", **old}, 1)
    found = await report(monkeypatch, scraped)
    assert found.not_healthy == []
    [warning] = found.warnings
    assert "arm main: the newest click that its model learned from is 8 days old" in warning
    assert found.arms[0].age_days == pytest.approx(8, abs=0.1)


async def test_a_silent_kafka_and_unread_partitions_are_said_on_top(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The partitions that nobody hears of are marked, and a sentence says what to do."""
    scraped = healthy()
    ingest = scraped["ingest-0"].samples
    ingest[3] = Sample("echorank_log_silence_seconds", {"partition": "3"}, 42.0)
    ingest[-1] = Sample("echorank_unread_partitions", {}, 4)
    found = await report(monkeypatch, scraped)
    assert found.not_healthy == ["Kafka is silent", "4 partitions unread"]
    assert found.partitions[3].silence_s == 42.0
    assert lines(found)[0].endswith("is SERVING, but not healthy: Kafka is silent; 4 part…")
    assert lines(found, 120)[0].endswith("not healthy: Kafka is silent; 4 partitions unread")
    assert next(line for line in lines(found) if " 42 s " in line).split()[0] == "3"
    assert found.warnings[0].startswith("Kafka has not said for 42 s where partitions 3 end")


@pytest.mark.parametrize("where", ["shard", "routing"])
async def test_two_models_in_one_arm_are_said_on_top(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whether shards differ from each other, or all of them from what the coordinator names."""
    scraped = healthy()
    table = routing()
    other = Sample("echorank_model_info", {"arm": "main", "version": "ffff"}, 1)
    for name, one in scraped.items():
        if name == "shard-3" or (where == "routing" and name != "ingest-0"):
            one.samples[1] = other
    found = await report(monkeypatch, scraped, table)
    assert found.not_healthy == ["2 models in arm main"]
    assert found.arms[0].models["ffff"] == [
        f"shard-{n}" for n in (range(SHARDS) if where == "routing" else [3])
    ]
    [warning] = found.warnings
    assert "the routing table" in warning
    assert "ffff in" in warning
    assert json.loads(to_json(found))["not_healthy"] == found.not_healthy


async def test_what_is_not_served_or_does_not_answer_is_said_on_top(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A partition that the table for clients leaves out,
    an owner that catches up, a process that is gone.
    """
    scraped = healthy()
    table = routing()
    scraped["ingest-0"] = Scraped(
        address="h:1", labels={"actor": "ingest", "instance": "ingest-0"}, error="refused"
    )
    table.routes[5].ready = False
    del table.routes[2]
    found = await report(monkeypatch, scraped, table, "NOT_SERVING")
    assert found.not_healthy == [
        "NOT_SERVING",
        "no ready owner of partitions 2, 5",
        "no answer from ingest-0",
    ]
    shown = lines(found, 120)
    assert shown[0].startswith(
        "gateway.echorank.svc:50051 is not healthy: NOT_SERVING; no ready owner"
    )
    assert any("nobody" in line and line.split()[0] == "2" for line in shown)
    assert any("shard-5 not ready" in line for line in shown)
    assert (await report(monkeypatch, {})).not_healthy == ["no metrics"]


@pytest.mark.parametrize(("seconds", "silent"), [(9.0, False), (10.0, True)])
async def test_an_election_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, seconds: float, silent: bool
) -> None:
    """As long as the watch over the log takes for one."""
    scraped = healthy()
    scraped["ingest-0"].samples[0] = Sample(
        "echorank_log_silence_seconds", {"partition": "0"}, seconds
    )
    assert bool((await report(monkeypatch, scraped)).not_healthy) == silent
