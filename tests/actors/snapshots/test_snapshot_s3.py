"""Snapshots in an object store, through pyarrow's own S3 client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.errors import ConfigError
from actors.snapshots.identity import Identity, claim
from actors.snapshots.store import SnapshotStore
from tests.actors.click_log import ClickLog, bundle, shard
from tests.actors.snapshots.s3_server import Bucket, running

LOG = ClickLog()


@pytest.fixture
def s3() -> Iterator[tuple[str, Bucket]]:
    """A directory's URI, and the bucket behind it."""
    with running() as served:
        yield served


def test_states_come_back_from_an_object_store(s3: tuple[str, Bucket], tmp_path: Path) -> None:
    """Base, changes, retention, tombstones and restore work as on a disk;
    a damaged object is passed over.
    """
    uri, bucket = s3
    arms = {"main": bundle()}
    owner = shard(tmp_path, arms, SnapshotStore.from_uri(uri, kept=2))
    owner.hold(0, 1)
    for stop in (600, 605, 700, 705, 710):
        owner.apply(LOG.batch(owner.positions()[0], stop), 1)
        owner.snapshot(0)
    names = [key.rsplit("/", 1)[1] for key in bucket.objects if not key.endswith("/")]
    assert sum(name.endswith(".manifest.json") for name in names) == 3
    assert not any(name.endswith(".tmp") for name in names)
    successor = shard(tmp_path, arms, SnapshotStore.from_uri(uri, kept=2))
    assert successor.hold(0, 2) == 710
    assert successor.digest(0, "main") == owner.digest(0, "main")
    newest = max(key for key in bucket.objects if key.endswith(".arrow"))
    bucket.objects[newest] = bucket.objects[newest][:-1]
    assert shard(tmp_path, arms, SnapshotStore.from_uri(uri, kept=2)).hold(0, 3) == 705
    assert len(successor.forget_older(0)) > 0
    assert [
        manifest.position for manifest in SnapshotStore.from_uri(uri, kept=2).find(0).manifests
    ] == [710]


def test_a_bucket_belongs_to_one_deployment(s3: tuple[str, Bucket]) -> None:
    """The first to come has the directory, as on a disk."""
    uri, _ = s3
    ours = Identity(namespace="shop", topic="clicks", log="cluster-1")
    claim(uri, ours)
    claim(uri, ours)
    with pytest.raises(ConfigError, match="another deployment"):
        claim(uri, Identity(namespace="bank", topic="clicks", log="cluster-1"))


def test_tombstones_are_objects_too(s3: tuple[str, Bucket]) -> None:
    """What is erased in an object store is read from there."""
    uri, _ = s3
    stones = SnapshotStore.from_uri(uri, kept=1).tombstones
    assert stones.read(0) == {}
    stones.write(0, 7, 100)
    stones.write(0, 7, 100)
    assert SnapshotStore.from_uri(uri, kept=1).tombstones.read(0) == {7: 100}
