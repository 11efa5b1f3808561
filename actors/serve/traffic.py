"""Which arm answers a user: the named one, or a sticky share of the traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import xxhash

from actors.errors import UnknownArm
from actors.serve.buckets import BUCKETS, Runs, expanded, first_buckets

ArmRole = Literal["live", "shadow", "candidate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One model version and its share of the traffic, in 10,000ths;
    only live arms take traffic unasked.
    """

    name: str
    model_version: str
    role: ArmRole
    weight: int


class TrafficSplit:
    """Gives each user a bucket that depends on nothing but the experiment's
    salt and the user id, and so an arm.

    `buckets` says which arm has which; without it they are shared out as for a deployment that
    begins.
    """

    def __init__(self, arms: Sequence[Arm], salt: str, buckets: Runs = ()) -> None:
        self._names = sorted(arm.name for arm in arms)
        self._buckets = expanded(buckets or first_buckets(arms))
        self._counts = Counter(self._buckets)
        self._salt = salt.encode()

    def choose(self, user: str, named: str = "") -> str:
        """Name of the arm that answers: `named` if given, else the arm of the user's bucket.

        Raises:
            UnknownArm: no such arm is deployed, or none is live.
        """
        if named:
            return self._known(named)
        if not self._buckets:
            raise UnknownArm(
                "no live arm has a weight; give one a weight in `arms`, or name an arm in the "
                "request"
            )
        return self._buckets[self.bucket(user)]

    def propensity(self, arm: str) -> float:
        """The chance that `choose` gives a user this arm when none is named, in [0, 1]."""
        return self._counts[arm] / BUCKETS

    def bucket(self, user: str) -> int:
        """Sticky bucket in [0, 10,000): xxh64(salt, user) mod 10,000."""
        return xxhash.xxh64_intdigest(self._salt + b"\0" + user.encode()) % BUCKETS

    def _known(self, name: str) -> str:
        if name not in self._names:
            raise UnknownArm(f"arm {name!r} is not deployed; there are {', '.join(self._names)}")
        return name
