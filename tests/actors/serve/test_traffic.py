from __future__ import annotations

import pytest

from actors.errors import UnknownArm
from actors.serve.traffic import BUCKETS, Arm, ArmRole, TrafficSplit

USERS = [f"user-{number}" for number in range(20_000)]


def arm(name: str, weight: int, role: ArmRole = "live") -> Arm:
    """An arm with a share."""
    return Arm(name=name, model_version="v", role=role, weight=weight)


def test_shares_follow_the_weights() -> None:
    """Of 20,000 users, 30 % go to the arm with weight 3,000,
    give or take four standard deviations.
    """
    split = TrafficSplit([arm("a", 7000), arm("b", 3000)], "salt")
    share = sum(split.choose(user) == "b" for user in USERS) / len(USERS)
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / len(USERS)) ** 0.5


def test_the_propensity_is_the_share() -> None:
    """Weight by the sum of the live weights; 0 for an arm that takes no traffic."""
    split = TrafficSplit([arm("a", 7000), arm("b", 3000), arm("next", 0, "shadow")], "salt")
    assert [split.propensity(name) for name in ("a", "b", "next")] == [0.7, 0.3, 0.0]


def test_a_user_keeps_the_arm_whatever_the_order_of_the_arms() -> None:
    """The choice depends on salt, user and weights only."""
    arms = [arm("a", 5000), arm("b", 2000), arm("c", 3000)]
    one = TrafficSplit(arms, "salt")
    other = TrafficSplit(arms[::-1], "salt")
    assert [one.choose(user) for user in USERS[:500]] == [
        other.choose(user) for user in USERS[:500]
    ]


def test_a_raised_weight_moves_only_the_users_it_has_to() -> None:
    """From 1,000 to 2,000 ten-thousandths,
    nobody leaves the arm and a tenth of all users join it.
    """
    before = TrafficSplit([arm("a", 9000), arm("b", 1000)], "salt")
    after = TrafficSplit([arm("a", 8000), arm("b", 2000)], "salt")
    moved = [(before.choose(user), after.choose(user)) for user in USERS]
    assert ("b", "a") not in moved
    assert abs(moved.count(("a", "b")) / len(USERS) - 0.1) < 0.01


def test_another_salt_makes_another_split() -> None:
    """Buckets under two salts agree no more often than by chance."""
    one = TrafficSplit([arm("a", BUCKETS)], "one")
    other = TrafficSplit([arm("a", BUCKETS)], "other")
    assert sum(one.bucket(user) == other.bucket(user) for user in USERS) < 20


def test_shadow_and_candidate_arms_answer_only_when_named() -> None:
    """No user lands on them by the split, and anybody may ask for them."""
    split = TrafficSplit(
        [arm("main", 1), arm("next", 0, "shadow"), arm("new", 0, "candidate")], "salt"
    )
    assert {split.choose(user) for user in USERS[:1000]} == {"main"}
    assert split.choose("u", named="next") == "next"


@pytest.mark.parametrize("role", ["shadow", "candidate"])
def test_without_a_live_arm_the_message_says_what_to_do(role: ArmRole) -> None:
    """A deployment without live arms refuses requests that name none."""
    with pytest.raises(UnknownArm, match="no live arm has a weight; give one a weight"):
        TrafficSplit([arm("a", 0, role)], "salt").choose("u")


def test_an_unknown_arm_names_the_known_ones() -> None:
    """The message lists what is deployed."""
    with pytest.raises(UnknownArm, match=r"arm 'x' is not deployed; there are a, b"):
        TrafficSplit([arm("b", 1), arm("a", 1)], "salt").choose("u", named="x")
