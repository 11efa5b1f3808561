"""Partitions without standbys that change hands while clicks and questions go on:
real processes, a real broker.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from cluster.broker.broker import Broker
from cluster.operate.admin_client import AdminClient
from tests.system.sent_clicks import PARTITIONS
from tests.system.under_load import TOKEN, Running, under_load

pytestmark = [pytest.mark.ray, pytest.mark.broker]


@pytest.fixture(scope="module")
def alone(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A system without standbys."""
    with under_load(broker, tmp_path_factory.mktemp("alone"), standbys=0) as running:
        yield running


async def test_scaling_out_and_in_fails_no_question(alone: Running) -> None:
    """2 -> 3 -> 1 shards under a stream: every question is answered,
    and the states are those of a clean fold.
    """
    async with AdminClient(alone.system.gateway_address, token=TOKEN) as admin:
        for shards in (3, 1):
            began = time.monotonic()
            steps = [step async for step in admin.scale(shards)]
            assert (steps[-1].done, steps[-1].shards_now, steps[-1].shards_wanted) == (
                True,
                shards,
                shards,
            )
            print(  # noqa: T201
                f"{shards} shards after {time.monotonic() - began:.1f} s: "
                f"{[s.message for s in steps]}"
            )
        assert set(alone.system.shard_pids()) == {"shard-0"}
        durable = await admin.snapshot()
        assert durable.keys() == set(range(PARTITIONS))
        [replica] = await admin.digest(0)
        assert (replica.shard, replica.role) == ("shard-0", "OWNER")
    assert alone.failed() == []
    alone.check_states()


async def test_health_shows_a_dead_shard_without_standbys(alone: Running) -> None:
    """NOT_SERVING while its partitions have nobody,
    SERVING once they are restored; and nothing is lost.
    """
    async with AdminClient(alone.system.gateway_address, token=TOKEN) as admin:
        assert [step async for step in admin.scale(2)][-1].done
    alone.until(alone.serving, "health before")
    alone.questions.asked.clear()
    killed = time.monotonic()
    os.kill(alone.system.shard_pids()["shard-1"], signal.SIGKILL)
    dead = alone.until(lambda: not alone.serving(), "health to fail")
    back = alone.until(alone.serving, "health to pass")
    print(f"NOT_SERVING after {dead - killed:.1f} s, SERVING after {back - killed:.1f} s")  # noqa: T201
    ends = {code: alone.failed().count(code) for code in set(alone.failed())}
    print(f"of {len(alone.questions.asked)} questions ended otherwise: {ends}")  # noqa: T201
    alone.check_states()
