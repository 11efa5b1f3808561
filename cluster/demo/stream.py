"""Prequential evaluation over the running system: ask before a click, then let it happen.

Clicks that are not asked about only happen, without a wait for the one before. Each user's clicks
keep their order, and each question is answered by a state that holds all of the user's clicks
before it (`min_offset`). Clicks of different users may overtake each other by at most WINDOW
places.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np

from actors.clicks.click import Click
from actors.clicks.formats import EventFormat, encode
from cluster.demo.clicks import Question
from cluster.operate.client import Client

WINDOW = 1000  # clicks looked ahead, so that several users are busy at a time
# questions asked at a time: more would measure the queue for two cores, not the system
IN_FLIGHT = 3
# questions; after one of so many clicks, ask at once and measure when its state is visible
PROBE_EVERY = 20
TOP = 10
PATIENCE_S = 60.0  # a question that gets no answer for so long counts as an error
PAUSE_S = 0.1  # before a question is asked again
RETRIABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

R = TypeVar("R")


class ClickProducer(Protocol):
    """kafka-python's producer, as far as it is used."""

    def send(self, topic: str, *, key: bytes, value: bytes) -> Any:
        """A future of the record's metadata."""


@dataclass
class Answers:
    """What came back, one entry a question in the order of the answers
    (-1 rank: not among the top).
    """

    users: list[str] = field(default_factory=list)
    # place of the clicked item in the top 10 of the catalogue
    ranks: list[int] = field(default_factory=list)
    # place of the clicked item among the candidates, ties against us
    places: list[int] = field(default_factory=list)
    # share of unseen candidates that score lower, ties by half
    aucs: list[float] = field(default_factory=list)
    score_ms: list[float] = field(default_factory=list)
    # from producing a click to an answer from a state that holds it
    visible_ms: list[float] = field(default_factory=list)
    levels: Counter[int] = field(default_factory=Counter)
    retries: int = 0
    errors: int = 0
    seconds: float = 0.0


class Stream:
    """Streams questions and clicks; `answers` fills while `run` goes on."""

    def __init__(
        self, client: Client, producer: ClickProducer, topic: str, clicks_per_s: float
    ) -> None:
        self._client = client
        self._producer = producer
        self._topic = topic
        self._clicks_per_s = clicks_per_s
        self._format = EventFormat()
        self._newest: dict[str, int] = {}  # user: offset after the newest click
        self.ends: dict[int, int] = {}  # partition: offset after the newest click
        self.homes: dict[str, int] = {}  # user: partition
        self.done = 0  # clicks
        self.answers = Answers()

    async def run(self, questions: Sequence[Question], on_click: Callable[[int], None]) -> None:
        """Ask and produce everything; `on_click` is told the number of clicks done after each."""

        def over(_: asyncio.Task[None]) -> None:
            window.release()
            self.done += 1
            on_click(self.done)

        window = asyncio.Semaphore(WINDOW)
        busy = asyncio.Semaphore(IN_FLIGHT)
        last_of: dict[str, asyncio.Task[None]] = {}
        sent_of: dict[str, asyncio.Event] = {}
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, question in enumerate(questions):
                await window.acquire()
                await self._pace(started, number)
                user = question.click.user
                sent = asyncio.Event()
                if question.candidates:
                    work = self._one(question, last_of.get(user), sent, busy)
                else:
                    work = self._happen(question.click, sent_of.get(user), sent)
                task = group.create_task(work)
                task.add_done_callback(over)
                last_of[user] = task
                sent_of[user] = sent
        self.answers.seconds = time.perf_counter() - started

    async def _pace(self, started: float, number: int) -> None:
        if self._clicks_per_s > 0:
            await asyncio.sleep(
                max(0.0, started + number / self._clicks_per_s - time.perf_counter())
            )

    async def _happen(
        self, click: Click, before: asyncio.Event | None, sent: asyncio.Event
    ) -> None:
        """Produce a click that is not asked about, as soon as the user's one before it is sent."""
        if before is not None:
            await before.wait()
        await self.produce(click, sent)

    async def _one(
        self,
        question: Question,
        before: asyncio.Task[None] | None,
        sent: asyncio.Event,
        busy: asyncio.Semaphore,
    ) -> None:
        """Ask when the user's click before is written, then produce this one."""
        if before is not None:
            await before
        async with busy:
            await self._ask(question)
            produced = time.perf_counter()
            await self.produce(question.click, sent)
            if len(self.answers.ranks) % PROBE_EVERY == 0:
                await self._probe(question.click, produced)

    async def _ask(self, question: Question) -> None:
        click = question.click
        found = self.answers
        offset = self._newest.get(click.user, 0)
        top = await self._answer(
            lambda: self._client.recommend(
                click.user, TOP, time_ms=click.time_ms, min_offset=offset
            )
        )
        asked = time.perf_counter()
        scores = await self._answer(
            lambda: self._client.score(
                click.user, question.candidates, time_ms=click.time_ms, min_offset=offset
            )
        )
        if scores is not None:
            found.score_ms.append(1000 * (time.perf_counter() - asked))
            found.levels[scores.origin.level] += 1
        found.users.append(click.user)
        found.ranks.append(rank_of(click.item, [entry.item for entry in top.items] if top else []))
        place, auc = place_of_first(
            np.array(scores.probabilities if scores else [0.0] * len(question.candidates))
        )
        found.places.append(place)
        found.aucs.append(auc)

    async def _probe(self, click: Click, produced: float) -> None:
        """Measure from producing a click to an answer from a state that holds it."""
        offset = self._newest[click.user]
        await self._answer(lambda: self._client.score(click.user, [click.item], min_offset=offset))
        self.answers.visible_ms.append(1000 * (time.perf_counter() - produced))

    async def produce(self, click: Click, handed_over: asyncio.Event) -> None:
        """Write one click and wait until the broker has it; `handed_over` is set right away."""
        loop = asyncio.get_running_loop()
        done = asyncio.get_running_loop().create_future()
        sent = self._producer.send(
            self._topic, key=click.user.encode(), value=encode(click, self._format)
        )
        handed_over.set()
        sent.add_callback(lambda metadata: loop.call_soon_threadsafe(done.set_result, metadata))
        sent.add_errback(lambda error: loop.call_soon_threadsafe(done.set_exception, error))
        metadata = await done
        self._newest[click.user] = max(metadata.offset + 1, self._newest.get(click.user, 0))
        self.homes[click.user] = metadata.partition
        self.ends[metadata.partition] = max(
            metadata.offset + 1, self.ends.get(metadata.partition, 0)
        )

    async def _answer(self, ask: Callable[[], Awaitable[R]]) -> R | None:
        """The answer, asked for again while the system recovers; None after PATIENCE_S."""
        deadline = time.perf_counter() + PATIENCE_S
        while True:
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIABLE or time.perf_counter() > deadline:
                    self.answers.errors += 1
                    return None
                self.answers.retries += 1
                await asyncio.sleep(PAUSE_S)


def rank_of(item: str, ranking: Sequence[str]) -> int:
    """Place of `item`, counted from 0; -1 if it is not there."""
    return ranking.index(item) if item in ranking else -1


def place_of_first(scores: np.ndarray[Any, Any]) -> tuple[int, float]:
    """Place of the first candidate (ties count against it) and its AUC
    against the others (ties count half).
    """
    better = int((scores[1:] > scores[0]).sum())
    equal = int((scores[1:] == scores[0]).sum())
    return better + equal, 1 - (better + equal / 2) / (len(scores) - 1)
