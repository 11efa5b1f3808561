from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from actors.calls.backlog import Backlog
from actors.calls.deadline import Deadline
from actors.calls.lateness import Lateness
from actors.errors import DeadlineExceeded, Overloaded


@dataclass
class Time:
    """A clock that is set by hand."""

    now: float = 100.0
    deadlines: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def deadline(self, left_s: float) -> Deadline:
        """A deadline so many seconds from now."""
        return Deadline(self.now + left_s, self)


async def answer(backlog: Backlog, time: Time, seconds: float, count: int) -> None:
    """Keep one place busy for `count` answers that take so long each."""
    for _ in range(count):
        async with backlog.place(time.deadline(60)):
            time.now += seconds


async def test_a_call_is_refused_that_would_wait_longer_than_half_its_time() -> None:
    """Ten answers a second and five calls before it: 0.6 s,
    which a deadline of 1.3 s allows and one of 1.1 s not.
    """
    time = Time()
    backlog = Backlog(1, time)
    await answer(backlog, time, 0.1, 50)
    calls = [asyncio.ensure_future(answer(backlog, time, 0.1, 1)) for _ in range(5)]
    async with backlog.place(time.deadline(60)):
        await asyncio.wait(calls, timeout=0)
        assert backlog.wait_s() == pytest.approx(0.7, rel=0.01)
        with pytest.raises(
            Overloaded, match=r"an answer takes about 0.7 s, more than half"
        ) as raised:
            backlog.check(time.deadline(1.3))
        assert raised.value.retry_after_s == pytest.approx(0.7, rel=0.01)
        backlog.check(time.deadline(1.5))
    await asyncio.gather(*calls)
    assert backlog.wait_s() == 0


async def test_nobody_is_refused_while_there_is_room() -> None:
    """However slow answers were."""
    time = Time()
    backlog = Backlog(2, time)
    async with backlog.place(time.deadline(60)):
        await answer(backlog, time, 5.0, 10)
        assert backlog.wait_s() == 0
        backlog.check(time.deadline(0.001))


async def test_places_are_given_in_order_and_given_back_by_those_who_leave() -> None:
    """Of three that wait the second hangs up; the others come in their order,
    and the place is free at the end.
    """
    backlog = Backlog(1)
    order = []

    async def call(name: str) -> None:
        async with backlog.place(Deadline.of(Endless(), 60)):
            order.append(name)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(backlog.place(Deadline.of(Endless(), 60)))
        calls = [asyncio.ensure_future(call(name)) for name in "abc"]
        await asyncio.wait(calls, timeout=0)
        calls[1].cancel()
    await asyncio.wait(calls)
    assert order == ["a", "c"]
    assert (backlog._inside, len(backlog._waiting)) == (0, 0)


async def test_a_place_that_was_just_given_to_one_who_leaves_is_not_lost() -> None:
    """Let in and cancelled in the same moment, it makes room for the next."""
    backlog = Backlog(1)

    async def call() -> None:
        async with backlog.place(Deadline.of(Endless(), 60)):
            pass

    async with backlog.place(Deadline.of(Endless(), 60)):
        calls = [asyncio.ensure_future(call()) for _ in range(2)]
        await asyncio.wait(calls, timeout=0)
    calls[0].cancel()
    await asyncio.wait(calls)
    assert calls[1].exception() is None
    assert backlog._inside == 0


async def test_a_server_that_answers_nothing_has_a_long_queue() -> None:
    """Calls that end for want of time are no answers."""
    time = Time()
    backlog = Backlog(1, time)
    await answer(backlog, time, 0.01, 100)

    async def too_late() -> None:
        async with backlog.place(time.deadline(60)):
            time.now += 1.0
            raise DeadlineExceeded("too late")

    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await too_late()
    async with backlog.place(time.deadline(60)):
        assert backlog.wait_s() > 0.3


def test_the_usual_time_is_the_middle_and_lateness_passes() -> None:
    """One answer in four that waits for a click does not count for more;
    a moment after a miss all is well.
    """
    time = Time()
    lateness = Lateness(time)
    for number in range(400):
        lateness.answered(0.9 if number % 4 == 0 else 0.01)
    assert 0.008 < lateness.usual_s() < 0.02
    assert not lateness.looming()
    lateness.missed()
    assert lateness.looming()
    time.now += 0.3
    assert not lateness.looming()


def test_a_usual_time_that_shuts_everybody_out_does_not_last() -> None:
    """Each call that is not even tried makes the next one likelier."""
    lateness = Lateness(Time())
    lateness.answered(10.0)
    for _ in range(2000):
        lateness.refused()
    assert lateness.usual_s() < 0.01


class Endless:
    """A call without a deadline."""

    def time_remaining(self) -> float | None:
        return None
