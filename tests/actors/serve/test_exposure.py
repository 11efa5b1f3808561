"""The exposure log: what it writes, and that nothing of it reaches a request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from actors.errors import BrokerUnavailable
from actors.serve.exposure import PROPENSITY_METADATA, ExposureLog
from rpc import echorank_pb2 as pb
from tests.actors.serve.exposure_fakes import FakeSink, exposure_log
from tests.actors.serve.served_shard import (
    ITEMS,
    NOW_MS,
    PARTITIONS,
    ServedShard,
    served_shard,
    user_of,
)
from tests.waiting import PATIENCE_S, until

USER = user_of(1)
SCORE = pb.ScoreRequest(user=USER, items=ITEMS[:3], arm="main", time_ms=NOW_MS)


def exposure(size: int = 10) -> pb.Exposure:
    """An exposure of some `size` bytes."""
    return pb.Exposure(user="u", arm="main", score_id="x" * size)


async def answers(
    directory: Path, exposures: ExposureLog, ask: Callable[[ServedShard], Any]
) -> Any:
    """What a shard with this log answers."""
    async with served_shard(directory, exposures=exposures) as served:
        served.click(USER, *ITEMS[:5])
        return await ask(served)


async def test_a_score_is_written_as_answered(tmp_path: Path) -> None:
    """User as key, items and probabilities in order, where the answer came from,
    and the digest that Inspect gives.
    """
    sink = FakeSink()
    log, count = exposure_log(sink)

    async def ask(served: ServedShard) -> tuple[pb.ScoreResponse, pb.InspectResponse]:
        score = await served.stub.Score(SCORE, metadata=((PROPENSITY_METADATA, "0.25"),))
        return score, await served.stub.Inspect(pb.InspectRequest(user=USER, arm="main"))

    score, inspected = await answers(tmp_path, log, ask)
    log.close(10)
    [(topic, record)] = sink.written
    assert (topic, record.key, count("written"), count("dropped")) == ("shown", USER.encode(), 1, 0)
    assert sink.exposures() == [
        pb.Exposure(
            score_id=score.origin.score_id,
            user=USER,
            arm="main",
            model_version=score.origin.model_version,
            propensity=0.25,
            partition=1,
            offset=5,
            state_digest=inspected.state_digest,
            level=pb.LEVEL_FULL,
            time_ms=NOW_MS,
            method=pb.Exposure.METHOD_SCORE,
            candidates=ITEMS[:3],
            probabilities=score.probabilities,
            stale=True,  # nobody told the shard where the log ends
            user_state=pb.USER_STATE_WARM,
        )
    ]


async def test_a_recommendation_is_written_as_answered(tmp_path: Path) -> None:
    """The items that were recommended, best first;
    propensity 1 for a caller that names none; nothing for Inspect.
    """
    sink = FakeSink()
    log, _ = exposure_log(sink)

    async def ask(served: ServedShard) -> pb.RecommendResponse:
        await served.stub.Inspect(pb.InspectRequest(user=USER, arm="main"))
        return await served.stub.Recommend(pb.RecommendRequest(user=USER, arm="main", k=4))

    answer = await answers(tmp_path, log, ask)
    log.close(10)
    [written] = sink.exposures()
    assert (written.method, written.propensity) == (pb.Exposure.METHOD_RECOMMEND, 1.0)
    assert list(written.candidates) == [item.item for item in answer.items]
    assert list(written.probabilities) == [item.probability for item in answer.items]


async def test_a_cold_user_has_no_digest(tmp_path: Path) -> None:
    """There is no state to digest, and the exposure says so."""
    sink = FakeSink()
    log, _ = exposure_log(sink)
    cold = user_of(1, avoid=USER)
    await answers(
        tmp_path, log, lambda it: it.stub.Score(pb.ScoreRequest(user=cold, items=["a"], arm="main"))
    )
    log.close(10)
    [written] = sink.exposures()
    assert (written.cold_user, written.state_digest, written.level) == (True, "", pb.LEVEL_PRIOR)
    assert written.user_state == pb.USER_STATE_COLD


async def test_while_states_are_restored_nobody_is_called_cold(tmp_path: Path) -> None:
    """Answer and exposure are stale, by popularity, and say that nothing is known;
    likewise while an arm catches up.
    """
    sink = FakeSink()
    log, _ = exposure_log(sink)
    request = pb.ScoreRequest(user=USER, items=ITEMS[:2], arm="main")

    async def ask(served: ServedShard) -> list[pb.Origin]:
        held = served.shard._held[partition_of(USER, PARTITIONS)]
        stores = held.stores
        held.stores = None
        restoring = (await served.stub.Score(request)).origin
        recommended = (
            await served.stub.Recommend(pb.RecommendRequest(user=USER, arm="main", k=2))
        ).origin
        held.stores = dict(stores or {})
        served.shard.observe_end(held.partition, 1_000_000)
        for store in held.stores.values():
            store.erase(key(USER))
        return [restoring, recommended, (await served.stub.Score(request)).origin]

    origins = await answers(tmp_path, log, ask)
    log.close(10)
    for said in (*origins, *sink.exposures()):
        assert (said.stale, said.cold_user, said.user_state) == (True, False, pb.USER_STATE_UNKNOWN)
        assert said.level == pb.LEVEL_PRIOR


@pytest.mark.parametrize("propensity", ["0", "1.5", "nan", "often"])
async def test_a_propensity_that_is_none_is_refused(tmp_path: Path, propensity: str) -> None:
    """INVALID_ARGUMENT with the value, rather than a record that biases whoever divides by it."""
    log, _ = exposure_log(FakeSink())

    async def ask(served: ServedShard) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.stub.Score(SCORE, metadata=((PROPENSITY_METADATA, propensity),))
        return raised.value

    error = await answers(tmp_path, log, ask)
    log.close(10)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"x-echorank-propensity is '{propensity}'" in (error.details() or "")


async def test_a_request_does_not_notice_a_full_log(tmp_path: Path) -> None:
    """While the broker holds a write up and there is no more room, answers go on,
    and what is dropped is counted.
    """
    sink = FakeSink()
    log, count = exposure_log(sink, shut=True, waiting_bytes_max=0)

    async def ask(served: ServedShard) -> list[pb.ScoreResponse]:
        return [await served.stub.Score(SCORE, timeout=PATIENCE_S) for _ in range(3)]

    scores = await answers(tmp_path, log, ask)
    assert [len(score.probabilities) for score in scores] == [3, 3, 3]
    assert count("dropped") == 3
    log.close(10)
    assert sink.written == []


def test_room_is_counted_in_bytes() -> None:
    """What fits is taken, and what was taken is written once the broker answers again."""
    sink = FakeSink()
    log, count = exposure_log(sink, interval_s=60, waiting_bytes_max=100, bytes_max=70)
    for size in (80, 40, 60, 20):  # too long itself, taken, no room beside the first, taken
        log.log(exposure(size))
    assert count("dropped") == 2
    log.close(10)
    assert [len(written.score_id) for written in sink.exposures()] == [40, 20]
    assert count("written") == 2


async def test_a_refusal_drops_what_was_sent_and_writing_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Dropped exposures are counted, the reason is logged once, and later ones are written."""
    caplog.set_level(logging.INFO)
    sink = FakeSink(faults=[BrokerUnavailable("no broker here"), ValueError("odd")])
    log, count = exposure_log(sink)
    for dropped in (1, 2):
        log.log(exposure())
        await until(lambda wanted=dropped: count("dropped") == wanted)  # type: ignore[misc]
    log.log(exposure())
    log.close(10)
    assert (count("dropped"), count("written"), len(sink.written)) == (2, 1, 1)
    assert [record.message for record in caplog.records] == [
        "exposures are dropped from now on: no broker here",
        "exposures are written again",
    ]


async def test_a_broker_that_is_not_there_is_asked_again() -> None:
    """The sink is opened when there is something to write, and once more after it could not be."""
    faults = [BrokerUnavailable("nobody answers")]
    sink = FakeSink()

    def open_sink() -> FakeSink:
        if faults:
            raise faults.pop()
        return sink

    log, count = exposure_log(sink, open_sink=open_sink)
    log.log(exposure())
    await until(lambda: count("dropped") == 1)
    log.log(exposure())
    log.close(10)
    assert (count("written"), len(sink.written)) == (1, 1)


async def test_closing_does_not_wait_for_ever() -> None:
    """A broker that does not answer costs the time given,
    and what waited is counted as dropped, as is all later.
    """
    sink = FakeSink()
    log, count = exposure_log(sink, shut=True)
    log.log(exposure())
    await until(lambda: not log._waiting)  # the thread holds it and waits for the broker
    log.log(exposure())
    log.close(0.01)
    log.log(exposure())
    assert count("dropped") == 2
    sink.gate.set()
    log._thread.join(10)
    assert count("written") == 1


def test_probabilities_keep_every_bit() -> None:
    """A float32 comes back as it was answered."""
    probabilities = np.random.default_rng(0).random(500, dtype=np.float32)
    value = pb.Exposure(probabilities=probabilities.tolist()).SerializeToString()
    np.testing.assert_array_equal(
        np.float32(pb.Exposure.FromString(value).probabilities), probabilities
    )
