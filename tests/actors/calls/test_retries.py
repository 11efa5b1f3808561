"""The shipped retry policy and the servers' part in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.calls.admission import Bounds
from actors.calls.retries import PUSHBACK, TRIES, WAITS_MS, is_last, pushback, tries_before
from actors.serve.gateway import Gateway
from cluster.broker.free_port import free_port
from cluster.operate.client import Client
from rpc import echorank_pb2 as pb
from tests.actors.serve.gateway_door import LOW, Door, closed_door, door, opened
from tests.actors.serve.refusals import refused

__all__ = ["closed_door", "door"]  # fixtures


@dataclass
class Call:
    """A call with so many tries before it."""

    given: Any = None

    def invocation_metadata(self) -> object:
        return None if self.given is None else ((TRIES, self.given), ("other", "x"))


def test_the_waits_are_for_each_try_but_the_last() -> None:
    """What a client cannot have sent counts as a first try."""
    assert [pushback(Call(str(number))) for number in (1, 3)] == [
        ((PUSHBACK, "400"),),
        ((PUSHBACK, "2500"),),
    ]
    assert (pushback(Call()), pushback(Call("4"))) == (((PUSHBACK, "100"),), ())
    assert [is_last(Call(given)) for given in (None, "0", "3", "4", "17")] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert [tries_before(Call(given)) for given in ("", "-1", "x", "9" * 5000)] == [0, 0, 0, 0]


@pytest.mark.parametrize(("back_after_s", "deadline_s"), [(3.0, 6.0), (5.4, 6.5)])
async def test_calls_outlast_a_restart(
    tmp_path: Path, back_after_s: float, deadline_s: float
) -> None:
    """Calls all through a shard's absence,
    with enough time and the shipped policy, are all answered.
    """
    async with (
        opened(tmp_path, Bounds(queue_max=512)) as door,
        Client(door.address, timeout_s=deadline_s) as client,
    ):
        door.gateway.follow(door.table(2, (f"127.0.0.1:{free_port()}", door.shards[1].address)))
        asyncio.get_running_loop().call_later(
            back_after_s, lambda: door.gateway.follow(door.table(3))
        )
        calls = [asyncio.ensure_future(client.score(LOW, ["a"])) for _ in range(60)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, pb.ScoreResponse)] == []


@pytest.mark.parametrize(("waiting", "code"), [(128, "DEADLINE_EXCEEDED"), (0, "UNAVAILABLE")])
async def test_the_last_try_waits_while_there_is_room(
    door: Door, monkeypatch: pytest.MonkeyPatch, waiting: int, code: str
) -> None:
    """For a shard that stays away until shortly before the deadline;
    not where as many wait already as may.
    """
    monkeypatch.setattr("actors.serve.gateway.OUTLASTING_MAX", waiting)
    door.gateway.follow(door.table(2, (f"127.0.0.1:{free_port()}", door.shards[1].address)))
    began = time.monotonic()
    async with Client(door.address, timeout_s=7.0) as client:
        error = await refused(client.score(LOW, ["a"]))
    assert error.code().name == code
    # it may be the first to say so
    own_clock = code == "DEADLINE_EXCEEDED" and error.details() == "Deadline Exceeded"
    assert own_clock or "the shard of partition 0 does not answer" in (error.details() or "")
    assert sum(WAITS_MS) / 1000 < time.monotonic() - began < 7.5


async def test_an_overloaded_server_asks_for_no_retries(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trailer tells the client when to try again, or that it should not."""
    door.gateway.follow(door.table(2, ("", door.shards[1].address)))

    async def told() -> str:
        error = await refused(door.stub.Inspect(pb.InspectRequest(user=LOW), timeout=10))
        return str(dict(error.trailing_metadata() or ()).get(PUSHBACK))

    assert await told() == "100"
    monkeypatch.setattr(door.server._requests, "_wait_s", lambda: 1.0)
    monkeypatch.setattr(Gateway, "wait_s", lambda _: 1.0)
    assert await told() == "-1"
