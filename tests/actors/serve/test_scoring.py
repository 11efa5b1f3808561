"""What a shard answers: scores, recommendations, what it remembers, and refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import xxhash
from google.rpc.error_details_pb2 import BadRequest, RetryInfo

from actors.calls.deadline import FULL
from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from actors.shard.roles import Feed
from model.config import ModelConfig
from model.network.export import random_bundle
from rpc import echorank_pb2 as pb
from tests.actors.serve.one_served_shard import USER, served
from tests.actors.serve.refusals import detail, refused
from tests.actors.serve.served_shard import (
    ITEMS,
    NOW_MS,
    PARTITIONS,
    ServedShard,
    clicks,
    served_shard,
    user_of,
)
from tests.waiting import PATIENCE_S, until

__all__ = ["served"]  # a fixture


async def test_probabilities_keep_the_order_of_the_items(served: ServedShard) -> None:
    """Scoring the reversed list gives the reversed probabilities, equal to the bundle's own."""
    served.click(USER, *ITEMS[:5])
    request = pb.ScoreRequest(
        user=USER, items=ITEMS[:9], arm="main", time_ms=NOW_MS, request_id="r"
    )
    response = await served.stub.Score(request)
    reverse = await served.stub.Score(
        pb.ScoreRequest(user=USER, items=ITEMS[8::-1], arm="main", time_ms=NOW_MS)
    )
    assert response.request_id == "r"
    np.testing.assert_array_equal(response.probabilities, reverse.probabilities[::-1])
    row = served.shard.read(1, "main", key(USER)).row
    [bundle] = served.shard._arms.values()
    np.testing.assert_array_equal(
        np.float32(response.probabilities),
        bundle.score(row, np.arange(9), NOW_MS, FULL).probabilities,
    )


async def test_the_origin_is_complete(served: ServedShard) -> None:
    """Every field says where the answer came from."""
    offset = served.click(USER, *ITEMS[:3])
    request = pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main", time_ms=NOW_MS + 250)
    origin = (await served.stub.Score(request)).origin
    [bundle] = served.shard._arms.values()
    assert (origin.arm, origin.model_version) == ("main", bundle.version)
    assert (origin.partition, origin.offset) == (partition_of(USER, PARTITIONS), offset)
    assert (origin.state_age_ms, origin.level, origin.cold_user) == (250, pb.LEVEL_FULL, False)
    assert len(origin.score_id) == 22


async def test_answers_are_stale_until_the_end_of_the_log_is_known(served: ServedShard) -> None:
    """A shard that has just taken over says so, and stops saying so once it has caught up."""
    request = pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main")
    assert (await served.stub.Score(request)).origin.stale
    served.shard.observe_end(1, 0)
    assert not (await served.stub.Score(request)).origin.stale


async def test_a_cold_user_gets_an_answer(served: ServedShard) -> None:
    """OK, flagged, at level PRIOR, and counted."""
    response = await served.stub.Score(pb.ScoreRequest(user="nobody", items=ITEMS[:2], arm="main"))
    origin = response.origin
    assert (origin.cold_user, origin.state_age_ms, origin.level) == (True, -1, pb.LEVEL_PRIOR)
    assert len(response.probabilities) == 2
    assert served.counted("degraded_total", reason="cold_user") == 1


async def test_unknown_items_are_scored_and_counted(served: ServedShard) -> None:
    """Each gets a probability; response and metric say how many there were."""
    response = await served.stub.Score(
        pb.ScoreRequest(user=USER, items=["new", ITEMS[0], "newer"], arm="main")
    )
    assert (len(response.probabilities), response.unknown_items) == (3, 2)
    assert served.counted("unknown_items_total", arm="main", source="request") == 2


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        (
            pb.ScoreRequest(items=["a"], arm="main"),
            "user",
            "user is empty; send an id of 1 to 16 bytes",
        ),
        (
            pb.ScoreRequest(user="é" * 9, items=["a"], arm="main"),
            "user",
            "18 bytes long; at most 16",
        ),
        (pb.ScoreRequest(user="u", arm="main"), "items", "0 items; send 1 to 20"),
        (
            pb.ScoreRequest(user="u", items=["a"] * 21, arm="main"),
            "items",
            "21 items; send 1 to 20",
        ),
        (
            pb.ScoreRequest(user="u", items=["a", ""], arm="main"),
            "items[1]",
            "0 bytes long; 1 to 16",
        ),
        (
            pb.ScoreRequest(user="u", items=["a", "b", "x" * 17], arm="main"),
            "items[2]",
            "17 bytes long; 1 to 16",
        ),
        (pb.ScoreRequest(user="u", items=["a"]), "arm", "a shard needs the arm: one of main"),
        (pb.RecommendRequest(user="u", k=21, arm="main"), "k", "k is 21; ask for 1 to 20"),
        (pb.RecommendRequest(user="u", k=-1, arm="main"), "k", "k is -1"),
        (pb.InspectRequest(arm="main"), "user", "user is empty"),
    ],
)
async def test_a_bad_request_names_field_and_rule(
    served: ServedShard, request_: Any, field: str, says: str
) -> None:
    """INVALID_ARGUMENT, with the field and the message in the details."""
    method = type(request_).__name__.removesuffix("Request")
    error = await refused(getattr(served.stub, method)(request_))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    [violation] = detail(error, BadRequest).field_violations
    assert violation.field == field
    assert says in violation.description == error.details()
    assert served.counted("requests_total", method=method, code="INVALID_ARGUMENT") == 1


async def test_an_unknown_arm_is_not_found(served: ServedShard) -> None:
    """NOT_FOUND, with the arms that are there."""
    error = await refused(served.stub.Score(pb.ScoreRequest(user="u", items=["a"], arm="x")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "arm 'x' is not deployed; there are main"


async def test_anothers_partition_is_unavailable(tmp_path: Path) -> None:
    """UNAVAILABLE with a delay: the caller's routing table is old."""
    async with served_shard(tmp_path, partitions=[0]) as served:
        error = await refused(
            served.stub.Score(pb.ScoreRequest(user=USER, items=["a"], arm="main"))
        )
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "shard-0 does not own partition 1" in (error.details() or "")
    assert detail(error, RetryInfo).retry_delay.ToMilliseconds() > 0


async def test_min_offset_waits_for_the_click(served: ServedShard) -> None:
    """The answer comes when the offset is applied, and holds it."""
    request = pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main", min_offset=2)
    waiting = asyncio.ensure_future(served.stub.Score(request, timeout=PATIENCE_S))
    await until(lambda: served.counted("requests_in_flight"))
    assert await asyncio.to_thread(served.click, USER, *ITEMS[:2]) == 2
    assert (await waiting).origin.offset == 2


async def test_min_offset_waits_for_the_arm_that_answers(tmp_path: Path) -> None:
    """An arm that has the click answers at once,
    however far behind another one is; that one's own callers wait.
    """
    arms = {
        "main": random_bundle(ModelConfig(), ITEMS),
        "new": random_bundle(ModelConfig(), ITEMS, 1),
    }
    async with served_shard(tmp_path, arms=arms) as served:
        partition = partition_of(USER, PARTITIONS)
        behind = 2000
        for store in served.shard._held[partition].stores.values():
            store.skip_to(behind if store.bundle is arms["main"] else 0)
        served.shard._held[partition].line_up()
        stop = served.shard.apply(clicks(partition, behind, USER, ITEMS[:1]), 1)
        request = pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main", min_offset=stop)
        answer = await served.stub.Score(request, timeout=PATIENCE_S)
        assert (answer.origin.offset, answer.origin.cold_user) == (stop, False)
        request.arm = "new"
        waiting = served.stub.Score(request, timeout=PATIENCE_S)
        served.shard.apply(clicks(partition, 0, USER, ITEMS[:1]), 1, Feed.BEHIND)
        served.shard.skip(partition, 1, stop, "test", 1, Feed.BEHIND)
        assert (await waiting).origin.offset == stop


async def test_a_stream_answers_each_request_and_ends_with_the_first_bad_one(
    served: ServedShard,
) -> None:
    """Two answers in order, then the status of the third request."""
    requests = [
        pb.ScoreRequest(user=USER, items=ITEMS[:2], arm="main", request_id="1"),
        pb.ScoreRequest(user=user_of(2), items=ITEMS[:3], arm="main", request_id="2"),
        pb.ScoreRequest(user=USER, arm="main", request_id="3"),
    ]
    answers = []

    async def read() -> None:
        async for response in served.stub.ScoreStream(iter(requests)):
            answers.append((response.request_id, len(response.probabilities)))  # noqa: PERF401

    error = await refused(read())
    assert answers == [("1", 2), ("2", 3)]
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served.counted("requests_total", method="ScoreStream", code="INVALID_ARGUMENT") == 1


@pytest.mark.parametrize(
    ("time_ms", "hint"),
    [
        (1_764_300_000, "is it in seconds?"),
        (1_764_300_000_000_000, "is it in microseconds or nanoseconds?"),
        (1_764_300_000_000_000_000, "is it in microseconds or nanoseconds?"),
        (2**63 - 1, "is it in microseconds or nanoseconds?"),
        (-1, "Send milliseconds"),
        (-(2**63), "Send milliseconds"),
        (NOW_MS + 5_000 + 86_400_001, "now + events.future_tolerance_s"),
    ],
)
async def test_a_time_in_another_unit_is_refused(
    served: ServedShard, time_ms: int, hint: str
) -> None:
    """INVALID_ARGUMENT with the field, the value and a guess,
    for Score, its stream, and Recommend.
    """
    score = pb.ScoreRequest(user=USER, items=ITEMS[:1], arm="main", time_ms=time_ms)
    recommend = pb.RecommendRequest(user=USER, k=1, arm="main", time_ms=time_ms)
    for call in (
        served.stub.Score(score),
        served.stub.Recommend(recommend),
        served.stub.ScoreStream(iter([score])).read(),
    ):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"time_ms is {time_ms}, not from 1973 to " in (error.details() or "")
        assert hint in (error.details() or "")
        assert detail(error, BadRequest).field_violations[0].field == "time_ms"


async def test_recommendations_come_best_first(served: ServedShard) -> None:
    """Ten by default, from the catalogue, without repeats, with falling probabilities."""
    served.click(USER, *ITEMS[:3])
    response = await served.stub.Recommend(pb.RecommendRequest(user=USER, arm="main"))
    probabilities = [each.probability for each in response.items]
    assert len({each.item for each in response.items} & set(ITEMS)) == 10
    assert probabilities == sorted(probabilities, reverse=True)
    assert response.origin.offset == 3


async def test_inspect_shows_what_is_remembered(served: ServedShard) -> None:
    """Count, time, newest items first, digest of the very bytes."""
    served.click(USER, *ITEMS[:3], "unheard-of")
    response = await served.stub.Inspect(pb.InspectRequest(user=USER, arm="main"))
    row = served.shard.read(1, "main", key(USER)).row
    assert row is not None
    assert (response.events, response.last_event_ms, response.user_key) == (4, NOW_MS, key(USER))
    assert list(response.recent_items[1:]) == list(ITEMS[2::-1])
    assert response.recent_items[0].startswith("(unknown, bucket ")
    assert response.state_digest == xxhash.xxh64_hexdigest(row.tobytes())
    assert response.state_bytes >= len(row)


async def test_inspect_of_a_cold_user_is_empty(served: ServedShard) -> None:
    """No clicks, no digest, and the flag."""
    response = await served.stub.Inspect(pb.InspectRequest(user="nobody", arm="main"))
    assert (response.events, response.state_digest, response.origin.cold_user) == (0, "", True)


async def test_a_shard_sends_routing_questions_to_the_gateway(served: ServedShard) -> None:
    """UNIMPLEMENTED, with a hint."""
    error = await refused(served.stub.Routing(pb.RoutingRequest()))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "ask the gateway" in (error.details() or "")
