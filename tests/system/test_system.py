"""The whole system on a real broker and real Ray processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from actors.archive.files import ArchiveFiles
from actors.clicks.partitioner import partition_of
from actors.errors import ConfigError
from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.kafka.access import KafkaAccess
from cluster.lifecycle.system import System
from cluster.operate.admin_client import AdminClient
from cluster.operate.client import Client
from cluster.operate.notices import Watch
from cluster.processes.served_models import ServedModels
from cluster.scrape import scrape
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings, MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.settings.stream import KafkaSettings, TopicSettings
from cluster.wiring.actors import create_actors
from cluster.wiring.real import real
from cluster.wiring.start import start_system
from model.bundle.load import load_bundle
from model.config import ModelConfig
from model.network.export import write_bundle
from model.network.network import Network
from rpc import echorank_pb2 as pb
from tests.cluster.kafka.topic_reader import records
from tests.system.offline_fold import offline_digests
from tests.system.sent_clicks import ITEMS, PARTITIONS, USERS, Clicks
from training.data import archive

pytestmark = [pytest.mark.ray, pytest.mark.broker]

RECOVERY_S = 30.0  # the target is 10; a busy machine gets more


@pytest.fixture(scope="module")
def settings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two shards on the tests' broker, with a published model, topics,
    ports, states and Ray of their own.
    """
    bundle = tmp_path_factory.mktemp("bundle") / "main"
    write_bundle(bundle, Network(ModelConfig(), len(ITEMS)).eval(), ITEMS, np.ones(len(ITEMS)), {})
    topic = f"clicks-{uuid.uuid4().hex[:8]}"
    ray_directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's socket paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", ray_directory)
        yield Settings(
            ray=RaySettings(cpus=2),
            kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
            topics=TopicSettings(
                clicks=topic,
                dlq=f"{topic}.dlq",
                exposures=f"{topic}.exp",
                partitions=PARTITIONS,
                create=True,
            ),
            state=StateSettings(
                directory=str(tmp_path_factory.mktemp("state")), snapshot_interval_s=1.0
            ),
            archive=ArchiveSettings(directory=str(tmp_path_factory.mktemp("archive")), roll_s=1.0),
            serving=ServingSettings(port=free_port(), shards=2),
            monitoring=MonitoringSettings(port=free_port()),
            arms=(ArmSettings(name="main", bundle=str(bundle), weight=10_000, role="live"),),
        )
    shutil.rmtree(ray_directory, ignore_errors=True)


@pytest.fixture(scope="module")
def system(settings: Settings) -> Iterator[System]:
    """The running system."""
    with start_system(settings) as started:
        started.wait_ready(60)
        yield started


@pytest.fixture(scope="module")
def clicks(system: System, settings: Settings) -> Iterator[Clicks]:
    """A producer of clicks."""
    with closing(
        Clicks(KafkaAccess(bootstrap_servers=system.bootstrap_servers), settings.topics.clicks)
    ) as made:
        yield made


@pytest.fixture
async def client(system: System) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with Client(system.gateway_address, timeout_s=RECOVERY_S) as connected:
        yield connected


async def test_a_click_changes_the_next_score(client: Client, clicks: Clicks) -> None:
    """A produced click is in the state that the next answer is made of."""
    clicks.send(200)
    user = USERS[3]
    end = clicks.end(USERS[3])
    scored = await client.score(user, ITEMS[:50], min_offset=end)
    assert (len(scored.probabilities), scored.origin.offset, scored.origin.cold_user) == (
        50,
        end,
        False,
    )
    assert len((await client.recommend(user, 5)).items) == 5
    seen = await client.inspect(user)
    assert (seen.events, seen.recent_items[0]) == (10, ITEMS[183 % len(ITEMS)])


async def test_an_answer_is_in_the_exposure_log(
    client: Client, system: System, settings: Settings
) -> None:
    """What the gateway answers can be read from the topic within seconds, by its score_id."""
    scored = await client.score(USERS[3], ITEMS[:50])
    access = KafkaAccess(bootstrap_servers=system.bootstrap_servers)
    deadline = time.monotonic() + 20
    found = None
    while found is None and time.monotonic() < deadline:
        written = [
            pb.Exposure.FromString(r.value)
            for r in records(access, settings.topics.exposures, 10_000, 1)
        ]
        found = next((each for each in written if each.score_id == scored.origin.score_id), None)
    assert found is not None
    assert (found.user, found.propensity, list(found.candidates)) == (
        USERS[3],
        1.0,
        list(ITEMS[:50]),
    )
    assert found.probabilities == scored.probabilities


async def test_clicks_in_wrong_partitions_are_said_within_seconds(
    system: System, settings: Settings, clicks: Clicks
) -> None:
    """A producer with librdkafka's partitioner: dead letters,
    and a line that names it; every state is as without.
    """
    wrong = clicks.send_misplaced()
    said = list[str]()
    watch = Watch(lambda: scrape(system.scraped_at, "ingest"), said.append)
    until(lambda: watch.look() or bool(said), within_s=10)
    until(lambda: system.positions() == clicks.ends)
    assert "lie in another partition than their users'" in said[0]
    assert "librdkafka" in said[0]
    letters = records(
        KafkaAccess(bootstrap_servers=system.bootstrap_servers), settings.topics.dlq, 10_000, 1
    )
    reasons = [
        value for letter in letters for name, value in letter.headers if name.endswith("exception")
    ]
    assert reasons == [b"BadRecord.wrong_partition"] * wrong


async def test_routing_names_shards_that_answer_themselves(client: Client) -> None:
    """Every partition has an owner, whose own server answers a client that routes itself."""
    routing = await client.routing()
    assert [(route.partition, route.shard) for route in routing.routes] == [
        (partition, f"shard-{partition % 2}") for partition in range(PARTITIONS)
    ]
    user = USERS[0]
    async with Client(routing.routes[partition_of(user, PARTITIONS)].address) as shard:
        assert (await shard.score(user, ITEMS[:3], arm="main")).origin.arm == "main"


async def test_health_and_reflection_on_the_real_port(system: System) -> None:
    """SERVING, and the service can be listed."""
    async with grpc.aio.insecure_channel(system.gateway_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "echorank.v1.Scoring"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [listed] = [each async for each in reflection.ServerReflectionInfo(iter([request]))]
    assert "echorank.v1.Scoring" in {
        service.name for service in listed.list_services_response.service
    }


def test_no_process_carries_the_training_library(system: System) -> None:
    """PyTorch is for training; in actors it would cost seconds of
    recovery and hundreds of megabytes.
    """
    for name, pid in system.pids().items():
        assert "torch" not in Path(f"/proc/{pid}/maps").read_text(), name


@pytest.mark.parametrize("victim", ["shard-0", "ingest-0", "archive", "gateway", "coordinator"])
async def test_a_killed_process_comes_back_and_nothing_is_lost(
    system: System, settings: Settings, clicks: Clicks, tmp_path: Path, victim: str
) -> None:
    """After SIGKILL and more clicks, answers hold every click,
    and digests equal an offline fold.
    """
    clicks.send(100)
    pid = system.pids()[victim]
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    clicks.send(100)
    async with asyncio.timeout(RECOVERY_S):
        await asyncio.to_thread(system.wait_replaced, victim, pid)
        await asyncio.to_thread(system.wait_ready)
        async with Client(system.gateway_address, timeout_s=RECOVERY_S) as client:
            for user in USERS:
                assert (
                    await client.score(user, ITEMS[:2], min_offset=clicks.end(user))
                ).origin.offset >= 1
    print(f"{victim}: {time.monotonic() - started:.1f} s from SIGKILL to all users answered")  # noqa: T201
    assert system.digests() == offline_digests(settings, clicks.ends, tmp_path)


def test_a_port_in_use_is_named_before_anything_starts(settings: Settings, system: System) -> None:
    """The message has section, port and setting."""
    del system  # it listens on both ports
    for section in ("serving", "monitoring"):
        port = free_port()
        other = {"serving": "monitoring", "monitoring": "serving"}[section]
        moved = getattr(settings, other).model_copy(update={"port": port})
        taken = getattr(settings, section).port
        with pytest.raises(
            ConfigError, match=rf"{section}.port {taken} on 127.0.0.1 cannot be used"
        ):
            start_system(settings.model_copy(update={other: moved}))


def test_a_second_system_in_the_namespace_is_refused(settings: Settings, system: System) -> None:
    """Two deployments never share names; the message says what to change."""
    del system
    models = ServedModels({}, {}, load_bundle)
    with pytest.raises(
        ConfigError,
        match=r"namespace 'echorank' .* has an actor 'coordinator' already.* set ray.namespace",
    ):
        dict(create_actors(real(settings), settings, "run", [], models))


def test_the_states_of_another_deployment_are_refused(settings: Settings, system: System) -> None:
    """Nothing is started, and the message names both deployments."""
    del system  # it has claimed the directory
    other = settings.model_copy(
        update={
            "ray": settings.ray.model_copy(update={"namespace": "other"}),
            "serving": settings.serving.model_copy(update={"port": free_port()}),
            "monitoring": settings.monitoring.model_copy(update={"port": free_port()}),
        }
    )
    with pytest.raises(
        ConfigError,
        match=r"another deployment \(namespace 'echorank'.*this one \(namespace 'other'",
    ):
        start_system(other)


def test_the_next_run_goes_on_where_this_one_stopped(
    system: System, settings: Settings, clicks: Clicks, tmp_path: Path
) -> None:
    """A stop saves everything; the next start restores it, reads on,
    and nobody asks the old addresses.
    """
    clicks.send(50)
    until(lambda: system.positions() == clicks.ends)
    system.stop()
    with start_system(settings) as again:
        assert again.positions() == clicks.ends
        clicks.send(50)
        again.wait_ready(60)
        until(lambda: again.positions() == clicks.ends)
        assert again.digests() == offline_digests(settings, clicks.ends, tmp_path)
        files = ArchiveFiles.from_uri(settings.archive.directory)
        until(lambda: {partition: files.end(partition) for partition in clicks.ends} == clicks.ends)
    log = archive.read(settings.archive.directory)
    assert sorted(log.times_ms - 1_700_000_000_000) == list(range(len(log))), (
        "each click once, whatever was killed"
    )


async def test_a_new_arm_holds_up_nobody(
    system: System, settings: Settings, clicks: Clicks, tmp_path: Path
) -> None:
    """While it is built from the log's start,
    the arm with traffic takes new clicks; in the end both have all.
    """
    system.stop()
    with start_system(settings) as again:
        clicks.send(PARTITIONS * 1500)
        until(lambda: again.positions() == clicks.ends)
    write_bundle(
        tmp_path / "next", Network(ModelConfig(), len(ITEMS)).eval(), ITEMS, np.ones(len(ITEMS)), {}
    )
    new = ArmSettings(name="next", bundle=str(tmp_path / "next"), weight=0, role="candidate")
    with_new = settings.model_copy(update={"arms": (*settings.arms, new)})
    with start_system(with_new) as both:
        again_ready = time.monotonic()
        both.wait_ready(60)
        clicks.send(100)
        async with Client(both.gateway_address, timeout_s=RECOVERY_S) as client:
            for user in USERS:
                origin = (await client.score(user, ITEMS[:2], min_offset=clicks.end(user))).origin
                assert (origin.arm, origin.stale, origin.cold_user) == ("main", False, False)
        print(  # noqa: T201
            f"answers with new clicks {time.monotonic() - again_ready:.1f} s after the start, "
            f"the new arm at {sorted(both.positions().values())} of {sorted(clicks.ends.values())}"
        )
        until(lambda: both.positions() == clicks.ends)
        assert both.digests() == offline_digests(with_new, clicks.ends, tmp_path)


async def test_a_user_is_erased_everywhere(
    system: System, settings: Settings, clicks: Clicks
) -> None:
    """Through the gateway of a third run; the user is a new one afterwards,
    and what Kafka keeps is named.
    """
    system.stop()
    with start_system(settings) as again:
        clicks.send(100)
        await asyncio.to_thread(again.wait_ready)
        user = USERS[5]
        end = clicks.end(USERS[5])
        async with Client(again.gateway_address, timeout_s=RECOVERY_S) as client:
            assert not (await client.score(user, ITEMS[:2], min_offset=end)).origin.cold_user
            async with AdminClient(again.gateway_address) as admin:
                receipt = await admin.erase(user)
            assert receipt.until >= end
            places = {place.place: place for place in receipt.places}
            assert places["state/main"].removed == 1
            assert "retention" in places[f"kafka/{settings.topics.clicks}"].note
            assert (await client.score(user, ITEMS[:2], min_offset=end)).origin.cold_user
    assert user not in archive.read(settings.archive.directory).users


def until(condition: Callable[[], bool], within_s: float = RECOVERY_S) -> None:
    """Return when the condition holds; asking is slow enough to need no sleep."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"still not after {within_s} s"
