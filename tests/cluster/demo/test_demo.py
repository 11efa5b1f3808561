"""The demonstration's parts: what is asked, how answers are counted,
and that questions come before clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from actors.clicks.click import Click
from cluster.demo import offline as demo_offline
from cluster.demo import stream as demo_stream
from cluster.demo.clicks import UNSEEN, questions
from cluster.demo.stream import Stream, place_of_first, rank_of

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


def test_places_by_hand() -> None:
    """Ties count against the clicked item in its place and half in its AUC."""
    assert place_of_first(np.array([0.5, 0.9, 0.5, 0.1, 0.2])) == (2, pytest.approx(1 - 1.5 / 4))
    assert place_of_first(np.array([1.0, 0.0])) == (0, 1.0)
    assert (rank_of("b", ["a", "b"]), rank_of("c", ["a", "b"])) == (1, -1)
    assert demo_offline.hit_ratio([0, -1, 9, -1]) == 0.5
    assert demo_offline.ndcg([0, -1, 2, -1]) == pytest.approx((1 + 0.5) / 4)


def test_popularity_skips_what_the_user_has() -> None:
    """The most clicked unseen items are offered,
    and what was offered and clicked counts as seen afterwards.
    """
    earlier = [click("a", "i1"), click("b", "i1"), click("b", "i2"), click("c", "i3")]
    asked = questions([], [click("a", "i2"), click("a", "i1"), click("d", "i1")], CATALOGUE, seed=0)
    assert demo_offline.popularity_ranks(earlier, asked) == [0, -1, 0]


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
