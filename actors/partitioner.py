"""A user's home: the partition that Kafka's default partitioner gives the user's clicks."""

from __future__ import annotations

from kafka.partitioner.default import murmur2

SIGN_BIT_OFF = 0x7FFFFFFF  # Java's toPositive


def partition_of(user: str, partitions: int) -> int:
    """Partition in [0, partitions): murmur2 of the id's UTF-8 bytes, as in any producer by default."""
    return int((murmur2(user.encode()) & SIGN_BIT_OFF) % partitions)
