"""A user's home is where a producer sends the clicks; and who would send them elsewhere."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.cluster import ClusterMetadata
from kafka.partitioner import DefaultPartitioner

from actors.clicks.partitioner import advice, fits, home, homes, partition_of


class FakeCluster(ClusterMetadata):
    """A cluster with one topic of `count` partitions."""

    def __init__(self, count: int) -> None:
        self.count = count

    def topics(self, *_: object) -> set[str]:
        return {"clicks"}

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self.count))

    def available_partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self.count))


@given(user=st.text(min_size=1, max_size=64), partitions=st.integers(1, 300))
def test_any_user_lives_where_a_producer_sends_the_clicks(user: str, partitions: int) -> None:
    """The partition equals that of kafka-python's default partitioner,
    for any id and any number of partitions.
    """
    sent_to = DefaultPartitioner().partition(
        "clicks", user, user.encode(), b"", b"", FakeCluster(partitions)
    )
    assert partition_of(user, partitions) == sent_to


def test_partitions_equal_those_of_the_java_client() -> None:
    """Hashes of Kafka's own unit test (UtilsTest.testMurmur2) lead to the same partitions here."""
    java = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for user, murmur2 in java.items():
        assert partition_of(user, 1000) == (murmur2 & 0x7FFFFFFF) % 1000


@given(
    users=st.lists(st.binary(max_size=40) | st.binary(min_size=250, max_size=262), max_size=20),
    partitions=st.integers(1, 300),
)
def test_many_homes_at_once_equal_those_one_by_one(users: list[bytes], partitions: int) -> None:
    """Ids of any length, empty and long ones among others."""
    assert homes(users, partitions).tolist() == [home(user, partitions) for user in users]


@given(key=st.binary(max_size=30), partitions=st.integers(1, 300))
def test_what_other_producers_would_do(key: bytes, partitions: int) -> None:
    """CRC32 as librdkafka takes it, FNV-1a as Sarama does: a signed remainder without its sign."""
    hashed = 0x811C9DC5
    for byte in key:
        hashed = (hashed ^ byte) * 0x01000193 % 2**32
    signed = hashed - 2**32 if hashed >= 2**31 else hashed
    sarama = abs(int(np.fmod(np.int64(signed), np.int64(partitions))))  # Go rounds towards zero
    assert "fnv1a" in fits(key, sarama, partitions)
    assert "crc32" in fits(key, zlib.crc32(key) % partitions, partitions)
    assert fits(None, 0, partitions) == ("none",)


def test_hashes_of_others_are_the_published_ones() -> None:
    """Test vectors of CRC32 and FNV-1a."""
    assert fits(b"123456789", 0xCBF43926 % 9973, 9973) == ("crc32",)
    assert fits(b"foobar", (2**32 - 0xBF9CF968) % 9973, 9973) == ("fnv1a",)
    assert fits(b"foobar", 1, 9973) == ()


@pytest.mark.parametrize(
    ("partitioners", "said"),
    [
        (["none"], "no key"),
        (["crc32"], "librdkafka"),
        (["fnv1a"], "Sarama"),
        (["crc32", "fnv1a"], " or FNV"),
        ([], "unk"),
    ],
)
def test_advice_names_who_and_what_to_do(partitioners: list[str], said: str) -> None:
    """Keys where there are none, else murmur2."""
    assert said in advice(partitioners)
    assert ("by its user id" if partitioners == ["none"] else "murmur2_random") in advice(
        partitioners
    )
