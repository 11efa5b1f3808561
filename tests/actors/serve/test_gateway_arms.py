"""Which arm the gateway picks, and by which chance it says so."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from actors.serve.exposure import PROPENSITY_METADATA
from actors.serve.gateway import ARM_METADATA
from rpc import echorank_pb2 as pb
from tests.actors.serve.exposure_fakes import FakeSink, exposure_log
from tests.actors.serve.gateway_door import ARMS, BUNDLES, LOW, Door, closed_door, door
from tests.actors.serve.refusals import refused
from tests.actors.serve.served_shard import ITEMS

__all__ = ["closed_door", "door"]  # fixtures


@pytest.mark.parametrize(
    ("field", "metadata", "arm"),
    [("", "", "main"), ("next", "", "next"), ("", "next", "next"), ("next", "main", "next")],
)
async def test_the_arm_is_the_named_one_or_a_live_one(
    door: Door, field: str, metadata: str, arm: str
) -> None:
    """The field counts before the metadata; a shadow arm answers only if named."""
    headers = ((ARM_METADATA, metadata),) if metadata else ()
    request = pb.ScoreRequest(user=LOW, items=ITEMS[:1], arm=field)
    origin = (await door.stub.Score(request, metadata=headers)).origin
    assert (origin.arm, origin.model_version) == (arm, BUNDLES[arm].version)


@pytest.mark.parametrize(
    ("field", "metadata", "given", "propensity"),
    [
        ("", "", "", 0.5),
        ("", "", "0.2", 0.5),
        ("next", "", "", 1.0),
        ("", "next", "", 1.0),
        ("next", "", "0.2", 0.2),
        ("", "next", "0.2", 0.2),
        ("main", "", "1e-3", 0.001),
    ],
    ids=str,
)
async def test_the_shard_learns_the_propensity(
    door: Door, field: str, metadata: str, given: str, propensity: float
) -> None:
    """The weight's share where the split chose the arm; what the client says,
    else 1, where it named the arm.
    """
    arms = [
        replace(arm, role="live", weight=weight)
        for arm, weight in zip(ARMS, (5000, 5000), strict=True)
    ]
    door.gateway.follow(replace(door.table(2), arms=tuple(arms)))
    sink = FakeSink()
    door.shards[0].service._exposures, _ = exposure_log(sink)
    headers = [(ARM_METADATA, metadata)] * bool(metadata) + [(PROPENSITY_METADATA, given)] * bool(
        given
    )
    await door.stub.Score(
        pb.ScoreRequest(user=LOW, items=ITEMS[:1], arm=field), metadata=tuple(headers)
    )
    await door.stub.Recommend(
        pb.RecommendRequest(user=LOW, k=1, arm=field), metadata=tuple(headers)
    )
    door.shards[0].service._exposures.close(10)
    assert [exposure.propensity for exposure in sink.exposures()] == [propensity, propensity]


@pytest.mark.parametrize("arm", ["", "main"])
@pytest.mark.parametrize(
    "given", ["7", "0", "-0.5", "nan", "inf", "1e999", "half", "", "0,5", "1.0000001"]
)
async def test_a_propensity_that_is_none_is_refused(door: Door, arm: str, given: str) -> None:
    """INVALID_ARGUMENT at the gateway, with the value and what to send,
    whether or not the call names its arm.
    """
    request = pb.ScoreRequest(user=LOW, items=ITEMS[:1], arm=arm)
    error = await refused(door.stub.Score(request, metadata=((PROPENSITY_METADATA, given),)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"metadata x-echorank-propensity is {given!r}; send the chance" in (
        error.details() or ""
    )


async def test_an_unknown_arm_is_not_found(door: Door) -> None:
    """NOT_FOUND at the gateway already, with the arms that are there."""
    error = await refused(door.stub.Score(pb.ScoreRequest(user=LOW, items=["a"], arm="x")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "arm 'x' is not deployed; there are main, next"
