"""The demonstration's parts: what is asked, how answers are counted,
and that questions come before clicks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from rich.console import Console

from actors.clicks.click import Click
from actors.clicks.formats import EventFormat, encode
from cluster.demo import offline as demo_offline
from cluster.demo import report
from cluster.demo import stream as demo_stream
from cluster.demo.clicks import UNSEEN, questions, sample
from cluster.demo.phases import Phases
from cluster.demo.stream import Answers, Stream, place_of_first, rank_of

CATALOGUE = [f"i{n}" for n in range(300)]


def click(user: str, item: str, time_ms: int = 1) -> Click:
    """A click of the kind that data sets have."""
    return Click(user, item, "click", time_ms)


def test_candidates_are_unseen_at_that_moment() -> None:
    """The clicked item comes first, then 99 others that the user had not
    clicked before, without repeats.
    """
    earlier = [click("u", f"i{n}") for n in range(150)]
    asked = questions(
        earlier, [click("u", "i200"), click("u", "i201"), click("v", "i0")], CATALOGUE, seed=0
    )
    for question in asked:
        assert question.candidates[0] == question.click.item
        assert len(set(question.candidates)) == UNSEEN + 1
    seen = {f"i{n}" for n in range(150)}
    assert not seen & set(asked[0].candidates)
    assert not (seen | {"i200"}) & set(asked[1].candidates)
    assert seen & set(asked[2].candidates)


def test_every_user_is_asked_about_the_same_share() -> None:
    """A fifth of each user's clicks, at least one of who has any; a share of 1 is every click."""
    sizes = {"a": 100, "b": 10, "c": 2, "d": 1}
    clicks = [click(user, f"i{n}") for user, size in sizes.items() for n in range(size)]
    chosen = sample(clicks, 0.2, seed=0)
    counts = Counter(clicks[place].user for place in chosen)
    assert counts == {"a": 20, "b": 2, "c": 1, "d": 1}
    assert sample(clicks, 1.0, seed=0) == set(range(len(clicks)))


def test_the_sample_is_the_seed_s() -> None:
    """The same for the same seed, another for another;
    what is drawn of a user does not depend on who else clicks.
    """
    own = [click("a", f"i{n}") for n in range(50)]
    others = [click("b", f"i{n}") for n in range(50)]
    chosen = sample(own, 0.2, seed=0)
    assert sample(own, 0.2, seed=0) == chosen
    assert sample(own, 0.2, seed=1) != chosen
    assert {place - 50 for place in sample([*others, *own], 0.2, seed=0) if place >= 50} == chosen


def test_clicks_that_are_not_asked_about_still_happen() -> None:
    """Each coming click has its entry, in order; what was clicked unasked is no candidate after."""
    coming = [click("u", f"i{n}") for n in range(100)]
    plan = questions([], coming, CATALOGUE, seed=0, share=0.2)
    assert [entry.click for entry in plan] == coming
    assert sum(bool(entry.candidates) for entry in plan) == 20
    for place, entry in enumerate(plan):
        assert not {f"i{n}" for n in range(place)} & set(entry.candidates)


def test_places_by_hand() -> None:
    """Ties count against the clicked item in its place and half in its AUC."""
    assert place_of_first(np.array([0.5, 0.9, 0.5, 0.1, 0.2])) == (2, pytest.approx(1 - 1.5 / 4))
    assert place_of_first(np.array([1.0, 0.0])) == (0, 1.0)
    assert (rank_of("b", ["a", "b"]), rank_of("c", ["a", "b"])) == (1, -1)
    assert np.mean(report.hits([0, -1, 9, -1])) == 0.5
    assert np.mean(report.gains([0, -1, 2, -1])) == pytest.approx((1 + 0.5) / 4)


def test_an_estimate_by_hand() -> None:
    """Users count by their clicks, not by how often they were asked;
    the error is by the users' distances from the mean.
    """
    values = [1.0, 0.0, 1.0, 0.0]
    users = ["a", "a", "b", "c"]
    found = report.estimate(values, users, {"a": 6, "b": 3, "c": 1})
    assert found.value == pytest.approx((6 * 0.5 + 3 * 1.0) / 10)
    squares = (6 * -0.1) ** 2 + (3 * 0.4) ** 2 + (1 * -0.6) ** 2
    assert found.error == pytest.approx(np.sqrt(squares * 3 / 2) / 10)
    assert np.isnan(report.estimate([1.0], ["a"], {"a": 1}).error)


def test_equal_users_have_the_error_of_a_plain_mean() -> None:
    """With one click a user it is the standard deviation over the root of their number."""
    values = np.random.default_rng(0).random(50)
    users = [f"u{n}" for n in range(50)]
    found = report.estimate(values.tolist(), users, dict.fromkeys(users, 1))
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_the_error_is_that_of_drawing_users() -> None:
    """As a bootstrap over users has it: users of unequal numbers of clicks, alike within a user."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 80, 300)
    rates = random.beta(2, 8, 300)
    values = [random.random(size) < rate for size, rate in zip(sizes, rates, strict=True)]
    users = np.repeat([f"u{n}" for n in range(300)], sizes)
    found = report.estimate(
        np.concatenate(values).astype(float).tolist(), users.tolist(), Counter(users.tolist())
    )
    sums = np.array([own.sum() for own in values])
    drawn = random.integers(0, 300, (4000, 300))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    assert found.value == pytest.approx(np.concatenate(values).mean())
    assert found.error == pytest.approx(means.std(), rel=0.05)


def test_the_table_says_figures_with_their_errors() -> None:
    """From the answers to the printed lines: how many were asked, each mean with its interval."""
    coming = [click(user, f"i{n}") for user in ("a", "b") for n in range(10)]
    plan = questions([], coming, CATALOGUE, seed=0, share=0.2)
    asked = [entry.click.user for entry in plan if entry.candidates]
    answers = Answers(
        users=asked,
        ranks=[0, 0, -1, -1],
        places=[0, 0, 50, 50],
        aucs=[1.0, 1.0, 0.5, 0.5],
        score_ms=[1.0],
        visible_ms=[2.0],
        seconds=4.0,
    )
    found = report.summary(plan, answers, frozen=[-1] * 4, popular=[0, -1, 0, -1])
    assert (found["events"], found["asked"], found["asked_users"]) == (20, 4, 2)
    assert (found["events_per_s"], found["hr10"], found["hr10_error"]) == (5.0, 0.5, 0.5)
    assert (found["hr10_frozen"], found["hr10_popularity_error"]) == (0.0, 0.0)
    console = Console(width=120, file=io.StringIO())
    console.print(report.table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert report.sampled(found).startswith("Asked before 4 of 20 clicks, of each of 2 users")
    assert "0.5000 ± 0.9800" in text
    assert "0.7500 ± 0.4900" in text  # AUC


def test_parts_are_said_and_timed() -> None:
    """Each part begins with a numbered line and ends with its duration."""
    console = Console(width=80, file=io.StringIO())
    times = iter([0.0, 1.5, 2.0, 5.0])
    phases = Phases(console, lambda: next(times))
    phases.begin("training", "Train")
    phases.begin("streaming", "Stream")
    phases.end()
    phases.end()
    assert phases.seconds == {"training": 1.5, "streaming": 3.0}
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1. Train" in said
    assert "2. Stream" in said
    assert "training: 1.5 s" in said


def test_popularity_skips_what_the_user_has() -> None:
    """The most clicked unseen items are offered,
    and what was offered and clicked counts as seen afterwards.
    """
    earlier = [click("a", "i1"), click("b", "i1"), click("b", "i2"), click("c", "i3")]
    asked = questions([], [click("a", "i2"), click("a", "i1"), click("d", "i1")], CATALOGUE, seed=0)
    assert demo_offline.popularity_ranks(earlier, asked) == [0, -1, 0]
    asked[1] = dataclasses.replace(asked[1], candidates=())
    assert demo_offline.popularity_ranks(earlier, asked) == [0, 0]


class FakeProducer:
    """Gives every click the next offset and notes the order."""

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened

    def send(self, topic: str, *, key: bytes, value: bytes) -> Any:
        """A future that is done already."""
        self.happened.append(f"click {key.decode()}")
        written = SimpleNamespace(offset=len(self.happened), partition=0)

        def add_callback(tell: Callable[[Any], None]) -> None:
            tell(written)

        return SimpleNamespace(add_callback=add_callback, add_errback=lambda _: None)


class FakeClient:
    """Answers in order, notes what was asked, and is unavailable for the first `failures` calls."""

    def __init__(self, happened: list[str], failures: int = 0) -> None:
        self.happened = happened
        self.failures = failures
        self.offsets: list[int] = []

    async def recommend(self, user: str, k: int, *, time_ms: int, min_offset: int) -> Any:
        """Item i1 first."""
        if self.failures:
            self.failures -= 1
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()
            )
        self.offsets.append(min_offset)
        self.happened.append(f"ask {user}")
        return SimpleNamespace(items=[SimpleNamespace(item="i1"), SimpleNamespace(item="i2")])

    async def score(
        self, user: str, items: Sequence[str], *, time_ms: int = 0, min_offset: int
    ) -> Any:
        """The first item is the best."""
        probabilities = [1.0, *[0.0] * (len(items) - 1)]
        return SimpleNamespace(probabilities=probabilities, origin=SimpleNamespace(level=1))


async def test_every_click_is_asked_for_before_it_happens() -> None:
    """A user's questions and clicks alternate, and each question waits for the click before it."""
    happened: list[str] = []
    client = FakeClient(happened)
    stream = Stream(client, FakeProducer(happened), "clicks", 0.0)  # type: ignore[arg-type]
    done: list[int] = []
    await stream.run(
        questions([], [click("u", f"i{n}", n) for n in (2, 1, 5)], CATALOGUE, seed=0), done.append
    )
    assert happened == ["ask u", "click u"] * 3
    assert client.offsets == [0, 3, 5]
    assert (stream.answers.ranks, stream.answers.places) == ([1, 0, -1], [0, 0, 0])
    assert done[-1] == 3
    assert stream.ends == {0: 7}


async def test_clicks_without_a_question_are_streamed_in_their_turn() -> None:
    """They are counted as done, and the next question waits for them."""
    happened: list[str] = []
    client = FakeClient(happened)
    stream = Stream(client, FakeProducer(happened), "clicks", 0.0)  # type: ignore[arg-type]
    plan = questions([], [click("u", f"i{n}", n) for n in (2, 1, 5)], CATALOGUE, seed=0)
    plan[1] = dataclasses.replace(plan[1], candidates=())
    done: list[int] = []
    await stream.run(plan, done.append)
    assert happened == ["ask u", "click u", "click u", "ask u", "click u"]
    assert client.offsets == [0, 4]
    assert (stream.answers.users, stream.answers.ranks) == (["u", "u"], [1, -1])
    assert done == [1, 2, 3]


async def test_many_clicks_without_a_question_keep_their_order() -> None:
    """Whatever the producer's answers wait for: a user's clicks are sent in order, and a question
    comes after the answer to the click before it.
    """
    happened: list[str] = []
    sent: list[bytes] = []
    pending: list[Callable[[], None]] = []

    class SlowProducer(FakeProducer):
        def send(self, topic: str, *, key: bytes, value: bytes) -> Any:
            sent.append(value)
            written = SimpleNamespace(offset=len(sent), partition=0)

            def add_callback(tell: Callable[[Any], None]) -> None:
                pending.append(lambda: tell(written))

            return SimpleNamespace(add_callback=add_callback, add_errback=lambda _: None)

    client = FakeClient(happened)
    stream = Stream(client, SlowProducer(happened), "clicks", 0.0)  # type: ignore[arg-type]
    coming = [click("u", f"i{n}") for n in range(30)]
    plan = questions([], coming, CATALOGUE, seed=0, share=0.1)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(stream.run(plan, lambda _: None))
        while not running.done():
            await asyncio.sleep(0)
            if pending:
                pending.pop(0)()
    assert sent == [encode(entry.click, EventFormat()) for entry in plan]
    places = [place for place, entry in enumerate(plan) if entry.candidates]
    assert client.offsets == [place + 1 if place else 0 for place in places]


async def test_freshness_is_probed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every so many clicks the newest one is asked for at once."""
    monkeypatch.setattr(demo_stream, "PROBE_EVERY", 2)
    happened: list[str] = []
    stream = Stream(FakeClient(happened), FakeProducer(happened), "clicks", 0.0)  # type: ignore[arg-type]
    await stream.run(
        questions([], [click("u", f"i{n}") for n in range(5)], CATALOGUE, seed=0), lambda _: None
    )
    assert len(stream.answers.visible_ms) == 2


async def test_a_question_is_repeated_until_it_is_answered() -> None:
    """Unavailable answers are counted as retries, not as errors."""
    happened: list[str] = []
    stream = Stream(FakeClient(happened, failures=2), FakeProducer(happened), "clicks", 0.0)  # type: ignore[arg-type]
    await stream.run(questions([], [click("u", "i1")], CATALOGUE, seed=0), lambda _: None)
    assert (stream.answers.retries, stream.answers.errors, stream.answers.ranks) == (2, 0, [0])
