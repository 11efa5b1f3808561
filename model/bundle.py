"""A published model as one directory (STUB: the real one lands while you work; signatures stay)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from model.config import ModelConfig
from model.state import Rows, StateLayout, layout, views


@dataclass(frozen=True, slots=True)
class Scores:
    probabilities: npt.NDArray[np.float32]  # (M,)
    level: int  # 1 FULL, 2 SEQUENCE, 3 PRIOR  (same numbers as the proto's Level)


@dataclass(frozen=True, slots=True)
class Remembered:
    events: int
    last_event_ms: int
    recent: npt.NDArray[np.int64]  # item rows, newest first, up to K


class Bundle:
    version: str  # 16 hex digits: digest of everything in the directory
    config: ModelConfig
    layout: StateLayout
    items: tuple[str, ...]  # the catalogue; row order

    def __init__(self, config: ModelConfig, items: tuple[str, ...], seed: int = 0) -> None:
        self.config, self.items, self.layout = config, items, layout(config)
        self.version = xxhash.xxh64(f"{config.to_json()}{items}{seed}".encode()).hexdigest()
        self._keys = np.array([xxhash.xxh64_intdigest(i.encode()) for i in items], dtype=np.uint64)
        self._order = np.argsort(self._keys)

    def item_rows(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Row of each key; an unknown item gets a hashed row >= len(items)."""
        sorted_keys = self._keys[self._order]
        at = np.searchsorted(sorted_keys, keys).clip(max=len(sorted_keys) - 1)
        hashed = len(self.items) + (keys % np.uint64(self.config.hashed_items)).astype(np.int64)
        return np.where(sorted_keys[at] == keys, self._order[at], hashed)

    def action_ids(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Id of each action key; an unknown action is 0."""
        return np.zeros(len(keys), dtype=np.uint8)

    def fold(
        self,
        rows: Rows,  # (capacity, row_bytes), changed in place
        index: npt.NDArray[np.int64],  # (n,) the row of each event's user
        users: npt.NDArray[np.uint64],  # (n,)
        items: npt.NDArray[np.int64],  # (n,) item rows
        actions: npt.NDArray[np.uint8],  # (n,)
        times_ms: npt.NDArray[np.int64],  # (n,)
        offsets: npt.NDArray[np.int64],  # (n,)
    ) -> None:
        """Apply the events in order. Releases the GIL. Deterministic to the byte."""
        v, at, K = views(rows), self.layout, self.config.ring_length
        for i in range(len(index)):
            r = index[i]
            n = int(v.u32[r, at.events // 4])
            v.u32[r, at.ring_items // 4 + n % K] = items[i]
            v.u32[r, at.ring_times // 4 + n % K] = times_ms[i] & 0xFFFFFFFF
            v.i64[r, at.last_time // 8] = max(v.i64[r, at.last_time // 8], times_ms[i])
            v.u32[r, at.events // 4] = n + 1

    def score(
        self,
        row: npt.NDArray[np.uint8] | None,  # (row_bytes,), None for a cold user
        items: npt.NDArray[np.int64],  # (M,) item rows
        now_ms: int,
        level: int = 1,  # the most complete level wanted; PRIOR is always possible
    ) -> Scores:
        hashed = np.array([xxhash.xxh32_intdigest(int(i).to_bytes(8, "little")) for i in items])
        return Scores((hashed / 2**32).astype(np.float32), 3 if row is None else level)

    def recommend(
        self, row: npt.NDArray[np.uint8] | None, k: int, exclude_seen: bool, now_ms: int
    ) -> tuple[npt.NDArray[np.int64], Scores]:
        """Top k item rows of the catalogue, best first, and their probabilities."""
        scores = self.score(row, np.arange(len(self.items)), now_ms)
        top = np.argsort(-scores.probabilities, kind="stable")[:k]
        return top, Scores(scores.probabilities[top], scores.level)

    def remembered(self, row: npt.NDArray[np.uint8]) -> Remembered:
        v, at, K = views(row[None]), self.layout, self.config.ring_length
        n = int(v.u32[0, at.events // 4])
        ring = v.u32[0, at.ring_items // 4 : at.ring_items // 4 + K]
        recent = np.array([ring[(n - 1 - j) % K] for j in range(min(n, K))], dtype=np.int64)
        return Remembered(n, int(v.i64[0, at.last_time // 8]), recent)


def load_bundle(path: str | Path, *, verify: bool = True) -> Bundle:
    """Read a bundle directory; BundleError if it is missing, damaged or fails its golden scores."""
    raise NotImplementedError


def random_bundle(config: ModelConfig, items: tuple[str, ...], seed: int = 0) -> Bundle:
    """A bundle with untrained weights, for tests and benchmarks of everything but accuracy."""
    return Bundle(config, items, seed)
