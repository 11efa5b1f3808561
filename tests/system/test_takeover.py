"""Standbys that take over while clicks and questions go on: real processes, a real broker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import grpc
import pytest

from actors.clicks.partitioner import partition_of
from cluster.broker.broker import Broker
from cluster.names import COORDINATOR
from cluster.operate.client import Client
from tests.system.sent_clicks import ITEMS, PARTITIONS, USERS
from tests.system.under_load import PATIENCE_S, Running, under_load

pytestmark = [pytest.mark.ray, pytest.mark.broker]

TAKEOVER_S = 4.0  # the target is 2 on a machine that does nothing else


@pytest.fixture(scope="module")
def paired(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A system with a standby of each partition."""
    with under_load(broker, tmp_path_factory.mktemp("paired"), standbys=1) as running:
        yield running


async def test_the_standby_takes_over_from_a_dead_owner(paired: Running) -> None:
    """Every question is answered meanwhile;
    the states of all replicas are those of a clean fold.
    """
    partitions = paired.owned_by("shard-0")
    assert partitions
    pid = paired.system.shard_pids()["shard-0"]
    paired.questions.asked.clear()
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    taken = (
        paired.until(
            lambda: not paired.owned_by("shard-0"), "the standby to own what the dead owned"
        )
        - killed
    )
    print(f"the standby owned {partitions} {taken:.2f} s after SIGKILL")  # noqa: T201
    paired.system.wait_replaced("shard-0", pid)
    paired.until(paired.settled, "everything in its place again")
    stale = sum(each.stale for each in paired.questions.asked)
    slowest = max(each.seconds for each in paired.questions.asked)
    print(f"{len(paired.questions.asked)} answers, {stale} stale, the slowest {slowest:.2f} s")  # noqa: T201
    assert paired.failed() == []
    assert taken <= TAKEOVER_S
    paired.check_states()


async def test_an_owner_that_sleeps_is_fenced_when_it_wakes(paired: Running) -> None:
    """Its standby has taken over; it answers stale until it hears of it,
    and no click is lost or doubled.
    """
    partition = paired.owned_by("shard-1")[0]
    old = paired.table().routes[partition].owner
    user = next(user for user in USERS if partition_of(user, PARTITIONS) == partition)
    pid = paired.system.shard_pids()["shard-1"]
    paired.questions.asked.clear()
    os.kill(pid, signal.SIGSTOP)
    try:
        paired.until(
            lambda: not paired.owned_by("shard-1"), "the standby to own what the sleeper owned"
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    woken = time.monotonic()
    async with Client(old.address, timeout_s=PATIENCE_S) as sleeper:
        try:
            assert (await sleeper.score(user, ITEMS[:2], arm="main")).origin.stale
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                # it has let go of the partition already
                raise
    print(f"the sleeper answered {time.monotonic() - woken:.2f} s after it woke")  # noqa: T201
    paired.until(paired.settled, "everything in its place again")
    assert paired.system.shard_pids()["shard-1"] == pid
    assert paired.table().routes[partition].owner.epoch > old.epoch
    assert paired.failed() == []
    paired.check_states()


async def test_the_death_of_the_coordinator_changes_nothing(paired: Running) -> None:
    """Its successor finds the same owners and standbys under the same
    epochs, and no question notices.
    """
    paired.until(paired.settled, "everything in its place before")
    before = paired.table()
    pid = paired.system.pids()[COORDINATOR]
    paired.questions.asked.clear()
    os.kill(pid, signal.SIGKILL)
    paired.system.wait_replaced(COORDINATOR, pid)
    paired.until(paired.settled, "everything in its place")
    assert paired.table().version > before.version
    assert paired.table().routes == before.routes
    assert paired.failed() == []
    paired.check_states()
