"""Scores of candidates from one user's state, in a few fused numpy calls.
`model.network.head` is the definition.

Three levels, by how much is known or how much time is left: FULL (everything), SEQUENCE (next-item
logit with membership), PRIOR (popularity). Each has its own calibration p = sigmoid(slope * logit +
intercept).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from model.arrays import Floats, Longs, Reals
from model.kernels.read import Reading
from model.levels import Level
from model.params import EPSILON, SLOPE, ScoreParams


@dataclass(frozen=True, slots=True)
class Scores:
    """Click probabilities (M,) and the level at which they were computed."""

    probabilities: Floats
    level: Level


class Member(NamedTuple):
    """What a history holds of M items; see `model.network.membership`."""

    age: Longs  # (M,) bucket of the newest occurrence's age
    often: Longs  # (M,) bucket of the number of occurrences, 0 for none
    bias: Floats  # (M,) on the next-item logit


class Scorer:
    """Scores with one model's parameters; stateless, so threads may share it."""

    def __init__(self, params: ScoreParams, catalogue: int, ring_length: int) -> None:
        self._p = params
        self._catalogue = catalogue
        self._ring_length = ring_length

    def score(self, reading: Reading | None, items: Longs, now_ms: int, level: Level) -> Scores:
        """Click probabilities of item rows (M,) for a user (None: cold, answered at PRIOR)."""
        if reading is None or level == Level.PRIOR:
            return Scores(self._calibrate(self._p.popularity[items], Level.PRIOR), Level.PRIOR)
        vectors = self._p.item[items]
        member = self._member(reading, items)
        next_item = vectors @ reading.sequence + self._p.item_bias[items] + member.bias
        if level == Level.SEQUENCE:
            return Scores(self._calibrate(next_item, level), level)
        logits = self._full(reading, items, vectors, member, next_item, now_ms)
        return Scores(self._calibrate(logits, Level.FULL), Level.FULL)

    def best(self, reading: Reading | None, k: int, *, exclude_seen: bool) -> tuple[Longs, Scores]:
        """The k best item rows of the catalogue by next-item logit (by
        popularity for a cold user), best first.

        Their probabilities never rise, whatever `exp` rounds: who sorts by them gets the same list.
        """
        if reading is None:
            logits = self._p.popularity[: self._catalogue]
            level = Level.PRIOR
        else:
            (logits, member) = self.next_item(reading)
            level = Level.SEQUENCE
            if exclude_seen:
                logits[member.often > 0] = -np.inf
        rows = top(logits, k)
        rows = rows[np.isfinite(logits[rows])]
        return rows, Scores(np.minimum.accumulate(self._calibrate(logits[rows], level)), level)

    def next_item(self, reading: Reading) -> tuple[Floats, Member]:
        """Next-item logit (V,) of every catalogue item, and what the history holds of it."""
        member = self._member(reading, np.arange(self._catalogue))
        logits: Floats = (
            self._p.item[: self._catalogue] @ reading.sequence
            + self._p.item_bias[: self._catalogue]
        )
        logits += member.bias
        return logits, member

    def _member(self, reading: Reading, items: Longs) -> Member:
        p = self._p
        past = (reading.ring, reading.tail, self._ring_length)
        return Member(*look_up(items, *past, p.member_vote, p.member_often))

    def _full(
        self,
        reading: Reading,
        items: Longs,
        vectors: Floats,
        member: Member,
        next_item: Floats,
        now_ms: int,
    ) -> Floats:
        p = self._p
        user = reading.sequence
        ring = self._attend_ring(reading, items)
        slots = self._attend_slots(reading, items)
        pairs = np.concatenate(
            [user * vectors, ring, ring * vectors, slots, slots * vectors], axis=1
        )  # (M, 5D)
        recency = _bits(max(now_ms - reading.last_ms, 0) // 1000, len(p.head_recency) - 2)
        count = _bits(reading.events, len(p.head_count) - 1)
        hidden = pairs @ p.head_pair + p.head_item[items]  # (M, Z)
        hidden += p.head_member[member.age] + p.head_often[member.often]
        hidden += user @ p.head_user + p.head_recency[recency] + p.head_count[count]
        hidden += next_item[:, None] * p.head_next
        np.maximum(hidden, 0, out=hidden)
        logits: Floats = p.head_scalars[0] * next_item + p.head_scalars[1] + hidden @ p.head_out
        return logits

    def _attend_ring(self, reading: Reading, items: Longs) -> Floats:
        """Exact target attention over the newest events, (M, D)."""
        p = self._p
        inputs = reading.inputs
        scores = p.ring_query[items] @ inputs.T + p.ring_bias[: len(inputs)]
        attended: Floats = _softmax(scores) @ (inputs @ p.ring_value)
        return attended

    def _attend_slots(self, reading: Reading, items: Longs) -> Floats:
        """Attention over the low-rank cache, (M, D)."""
        p = self._p
        mass = reading.mass + np.float32(EPSILON)
        mean = reading.cache / mass[:, None]
        key = _leaky(mean @ p.slot_key)
        value = _leaky(mean @ p.slot_value)
        scores = p.slot_query[items] @ key.T @ p.slot_mixing + np.log(mass)
        attended: Floats = _softmax(scores) @ value
        return attended

    def _calibrate(self, logits: Floats, level: Level) -> Floats:
        slope, intercept = self._p.calibration[level - 1]
        probabilities: Floats = 1 / (1 + np.exp(-(slope * logits + intercept).clip(-80, 80)))
        return probabilities


def top(values: Reals, k: int) -> Longs:
    """Places of the k largest of `values` (V,), largest first; of equal ones the first places."""
    k = min(k, len(values))
    if not k:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > least)
    found = np.concatenate([above, np.flatnonzero(values == least)[: k - len(above)]])
    return found[np.lexsort((found, -values[found]))]


@njit(cache=True, nogil=True)
def look_up(items, ring, tail, ring_length, vote_of, often_of):
    """Age bucket, number bucket and bias, (M,) each,
    of item rows (M,) in a history: exact in the ring, by fingerprint in the tail.

    Ring and tail are newest first. An occurrence votes with vote_of[bucket of its age], and
    often_of[bucket of their number] is added.
    """
    size = 1 + len(ring) + len(tail)
    place_of = np.zeros(1 << 16, np.int16)  # of a fingerprint in the columns below; 0: none
    ages = np.full(size, -1, np.int64)
    counts = np.zeros(size, np.int64)
    votes = np.zeros(size, np.float32)
    in_ring = np.zeros(size, np.bool_)
    used = 0
    for j in range(len(tail)):
        place = place_of[tail[j]]
        if not place:
            used += 1
            place = used
            place_of[tail[j]] = place
            ages[place] = ring_length + j
        counts[place] += 1
        votes[place] += vote_of[bit_length(ring_length + j)]
    for j in range(len(ring)):
        place = place_of[ring[j] & 0xFFFF]
        if not place:
            used += 1
            place = used
            place_of[ring[j] & 0xFFFF] = place
        in_ring[place] = True
    age_bucket = np.full(len(items), len(vote_of) - 1, np.int64)
    number_bucket = np.zeros(len(items), np.int64)
    bias = np.zeros(len(items), np.float32)
    for i in range(len(items)):
        place = place_of[items[i] & 0xFFFF]
        if not place:
            continue
        age = ages[place]
        count = counts[place]
        vote = votes[place]
        if in_ring[place]:
            for j in range(len(ring) - 1, -1, -1):
                if ring[j] == items[i]:
                    age = j
                    count += 1
                    vote += vote_of[bit_length(j)]
        if count:
            age_bucket[i] = bit_length(age)
            number_bucket[i] = min(bit_length(count), len(often_of) - 1)
            bias[i] = often_of[number_bucket[i]]
            if vote > 0:
                bias[i] += np.log(vote)
    return age_bucket, number_bucket, bias


@njit(cache=True, nogil=True)
def bit_length(number):
    """Number of bits of a number of at least 0."""
    bits = 0
    while number > 0:
        number >>= 1
        bits += 1
    return bits


def _bits(number: int, most: int) -> int:
    return min(int(number).bit_length(), most)


def _leaky(x: Floats) -> Floats:
    return np.where(x > 0, x, np.float32(SLOPE) * x)


def _softmax(scores: Floats) -> Floats:
    weights: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
