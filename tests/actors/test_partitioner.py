from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka.cluster import ClusterMetadata
from kafka.partitioner import DefaultPartitioner

from actors.partitioner import partition_of


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
    """The partition equals that of kafka-python's default partitioner, for any id and any number of partitions."""
    sent_to = DefaultPartitioner().partition("clicks", user, user.encode(), b"", b"", FakeCluster(partitions))
    assert partition_of(user, partitions) == sent_to


def test_partitions_equal_those_of_the_java_client() -> None:
    """Hashes of Kafka's own unit test (UtilsTest.testMurmur2) lead to the same partitions here."""
    java = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for user, murmur2 in java.items():
        assert partition_of(user, 1000) == (murmur2 & 0x7FFFFFFF) % 1000
