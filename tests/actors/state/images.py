"""Images of no store, to be saved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from actors.snapshots.manifest import Chain, Manifest
from actors.snapshots.store import SnapshotStore
from actors.state.image import PIECE_ROWS, StateImage
from model.arrays import Bytes, Keys

ROW_BYTES = 48
PARTITION = 3


def states(position: int, users: int = 3000) -> tuple[Keys, Bytes]:
    """Random states of random users, the same for the same position."""
    random = np.random.default_rng(position)
    keys = random.integers(0, 2**63, users).astype(np.uint64)
    return keys, random.integers(0, 255, (users, ROW_BYTES), dtype=np.uint8)


def image(position: int, users: int = 3000, arm: str = "main", full: bool = True) -> StateImage:
    """An image of `states`."""
    keys, rows = states(position, users)

    def pieces() -> Iterator[tuple[Keys, Bytes]]:
        for first in range(0, users, PIECE_ROWS):
            yield keys[first : first + PIECE_ROWS], rows[first : first + PIECE_ROWS]

    return StateImage(
        arm=arm,
        model="model-1",
        schema="schema-1",
        position=position,
        full=full,
        users=users,
        row_bytes=ROW_BYTES,
        pieces=pieces,
        close=lambda completed: None,
    )


def save(
    store: SnapshotStore, epoch: int, *images: StateImage, after: Manifest | None = None
) -> Manifest:
    """Save a snapshot of partition 3; images that are not full add to the chains of `after`."""
    arms: dict[str, Chain] = {}
    for one in images:
        arms[one.arm] = store.add(
            PARTITION, epoch, one, one.users, after.arms[one.arm] if after else None
        )
    return store.seal(PARTITION, epoch, arms)


def read(store: SnapshotStore, chain: Chain) -> tuple[Keys, Bytes]:
    """All users and rows of a chain's files, one file after the other."""
    users, rows = zip(
        *(piece for file in chain.files for piece in store.read(PARTITION, chain, file)),
        strict=True,
    )
    return np.concatenate(users), np.concatenate(rows)


def is_sound(store: SnapshotStore, manifest: Manifest) -> bool:
    """Whether every file of the manifest can be read; SnapshotDamaged if not."""
    for chain in manifest.arms.values():
        read(store, chain)
    return True
