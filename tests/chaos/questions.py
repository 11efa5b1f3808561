"""Somebody who asks for scores all the time, with the shipped client and its retry policy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import grpc
import numpy as np

from cluster.operate.client import Client

# whether or not the ones before were answered: who waits for answers asks less when it matters
PER_S = 40.0
ITEMS = 20
OK = "OK"


class Asked(NamedTuple):
    """One question."""

    at: float  # monotonic
    seconds: float
    code: str
    stale: bool


class Questions:
    """A thread that asks PER_S questions a second over one client;
    `asked` grows while it runs; close it.
    """

    def __init__(self, address: str, users: Sequence[str], items: int, seed: int) -> None:
        self._address = address
        self._users = users
        self._items = items
        self._random = np.random.default_rng(seed)
        self._closing = threading.Event()
        self.asked: list[Asked] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="questions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; raises what ended the thread before its time."""
        self._closing.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def between(self, begin: float, end: float) -> list[Asked]:
        """The questions that were open at some time between two moments of the monotonic clock."""
        return [each for each in self.asked if each.at + each.seconds >= begin and each.at <= end]

    def _run(self) -> None:
        try:
            asyncio.run(self._ask_on())
        except BaseException as error:
            self._failure = error

    async def _ask_on(self) -> None:
        # never set: waiting for it is the pause
        loop = asyncio.get_running_loop()
        pause = asyncio.Event()
        async with Client(self._address) as client, asyncio.TaskGroup() as group:
            due = loop.time()
            while not self._closing.is_set():
                group.create_task(self._one(client))
                due += 1 / PER_S
                with suppress(TimeoutError):
                    await asyncio.wait_for(pause.wait(), max(0.0, due - loop.time()))

    async def _one(self, client: Client) -> None:
        self.asked.append(await self._ask(client))

    async def _ask(self, client: Client) -> Asked:
        user = self._users[self._random.integers(len(self._users))]
        items = [f"item-{number}" for number in self._random.integers(self._items, size=ITEMS)]
        began = time.monotonic()
        try:
            answer = await client.score(user, items)
        except grpc.aio.AioRpcError as error:
            return Asked(began, time.monotonic() - began, error.code().name, stale=False)
        return Asked(began, time.monotonic() - began, OK, answer.origin.stale)


def longest_silence_s(asked: Sequence[Asked], begin: float, end: float) -> float:
    """The longest time between two good answers, from `begin` to `end`."""
    good = sorted(min(max(each.at + each.seconds, begin), end) for each in asked if each.code == OK)
    return float(np.diff([begin, *good, end]).max())
