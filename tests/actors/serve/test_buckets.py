from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.serve.buckets import BUCKETS, expanded, first_buckets, next_buckets, runs
from actors.serve.traffic import Arm, TrafficSplit

NAMES = "abcdef"


def live(**weights: int) -> list[Arm]:
    """Live arms with these weights."""
    return [
        Arm(name=name, model_version="v", role="live", weight=weight)
        for name, weight in weights.items()
    ]


@st.composite
def deployments(draw: st.DrawFn) -> list[Arm]:
    """One to six live arms whose weights sum to 10,000, and an arm that takes no traffic."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    cuts = sorted(
        draw(st.lists(st.integers(0, BUCKETS), min_size=len(names) - 1, max_size=len(names) - 1))
    )
    weights = [end - begin for begin, end in zip([0, *cuts], [*cuts, BUCKETS], strict=True)]
    shadow = Arm(name="shadow", model_version="v", role="shadow", weight=0)
    return [*live(**dict(zip(names, weights, strict=True))), shadow]


@given(st.lists(deployments(), min_size=2, max_size=6))
@example([live(a=8000, b=1000, c=1000), live(a=8000, b=2000)])
@example([live(a=9000, b=1000), live(a=8000, aa=1000, b=1000)])
def test_any_change_moves_the_fewest_buckets(history: list[list[Arm]]) -> None:
    """After each change every arm has just its share,
    and no more buckets move than some arm has too many.
    """
    table = next_buckets((), history[0])
    assert table == first_buckets(history[0])
    for arms in history[1:]:
        after = next_buckets(table, arms)
        had = Counter(expanded(table))
        has = Counter(expanded(after))
        wanted = Counter({arm.name: arm.weight for arm in arms if arm.weight})
        assert has == wanted
        moved = sum(old != new for old, new in zip(expanded(table), expanded(after), strict=True))
        assert moved == sum((had - wanted).values())
        table = after


@given(deployments(), deployments())
def test_a_change_that_is_taken_back_brings_everybody_back(
    one: list[Arm], other: list[Arm]
) -> None:
    """From the table of a deployment's beginning and back again."""
    first = first_buckets(one)
    assert next_buckets(next_buckets(first, other), one) == first


def test_a_third_arm_takes_a_tenth_and_exchanges_nobody() -> None:
    """In ranges by name it would have moved the second arm's users to the
    first and taken its own from there.
    """
    before = first_buckets(live(main=9000, wide=1000))
    after = next_buckets(before, live(main=8000, new=1000, wide=1000))
    moves = Counter(zip(expanded(before), expanded(after), strict=True))
    assert moves == {("main", "main"): 8000, ("wide", "wide"): 1000, ("main", "new"): 1000}


def test_the_first_table_is_the_one_of_ranges() -> None:
    """A deployment that comes from a version without tables moves nobody:
    bucket times sum of weights by 10,000.
    """
    for arms in (
        live(a=7000, b=3000),
        live(b=1, a=1, c=1),
        live(x=1),
        live(a=3333, b=3333, c=3334),
        live(a=7, b=11),
    ):
        ordered = sorted(arms, key=lambda arm: arm.name)
        total = sum(arm.weight for arm in arms)
        expected = []
        for bucket in range(BUCKETS):
            at = bucket * total // BUCKETS
            for arm in ordered:
                at -= arm.weight
                if at < 0:
                    expected.append(arm.name)
                    break
        assert expanded(first_buckets(arms)) == expected


def test_a_table_of_another_size_is_refused() -> None:
    """None of its users would be where they were."""
    with pytest.raises(ValueError, match="has 9999 buckets, not 10000"):
        expanded((("a", 9999),))


def test_the_split_follows_the_table_and_not_the_weights() -> None:
    """Choice and propensity are those of the buckets."""
    table = runs(["a"] * 2500 + ["b"] * 5000 + ["a"] * 2500)
    split = TrafficSplit(live(a=9000, b=1000), "salt", table)
    assert (split.propensity("a"), split.propensity("b")) == (0.5, 0.5)
    users = [f"user-{number}" for number in range(200)]
    assert [split.choose(user) for user in users] == [
        expanded(table)[split.bucket(user)] for user in users
    ]
