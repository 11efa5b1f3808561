"""A user's home, the partition that Kafka's default partitioner gives the
user's clicks; and what others would give.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from model.arrays import Longs, UInts

# Java's toPositive; 32 bits
SIGN_BIT_OFF = 0x7FFFFFFF
UNSIGNED = 0xFFFFFFFF
TOGETHER_BYTES = 256  # longer ids are hashed one by one
SEED = np.uint32(0x9747B28C)
FACTOR = np.uint32(0x5BD1E995)
# masks of the bytes after the last four
ENDS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], dtype=np.uint32)

NO_KEY = "none"  # a record without a key goes to any partition
CRC32 = "crc32"
FNV1A = "fnv1a"
USED_BY = {
    NO_KEY: "there is no key, so the producer may put a record anywhere",
    CRC32: (
        "CRC32, librdkafka's default (confluent-kafka, and clients of Go, .NET and Node built "
        "on it)"
    ),
    FNV1A: "FNV-1a, the default of Sarama and the Hash balancer of kafka-go",
}

UNKNOWN = "who put it there is unknown, or the topic had or has another number of partitions"
MURMUR2 = "the Java client's default; partitioner=murmur2_random in librdkafka"


def partition_of(user: str, partitions: int) -> int:
    """Partition in [0, partitions): murmur2 of the id's UTF-8 bytes,
    as in any producer by default.
    """
    return home(user.encode(), partitions)


def home(user: bytes, partitions: int) -> int:
    """`partition_of` an id in UTF-8."""
    return (_murmur2_of(user) & SIGN_BIT_OFF) % partitions


def homes(users: Sequence[bytes], partitions: int) -> Longs:
    """`home` of each, (n,): four bytes of every id at a time."""
    sizes = np.fromiter(map(len, users), np.int64, len(users))
    short = sizes <= TOGETHER_BYTES
    found = np.zeros(len(users), dtype=np.int64)
    if short.all():
        return _positive(_murmur2(users, sizes), partitions)
    found[short] = _positive(
        _murmur2([users[at] for at in np.flatnonzero(short).tolist()], sizes[short]), partitions
    )
    found[~short] = [home(users[at], partitions) for at in np.flatnonzero(~short).tolist()]
    return found


def fits(key: bytes | None, partition: int, partitions: int) -> tuple[str, ...]:
    """The partitioners, of USED_BY, that would put a record with this key there;
    they agree by chance at times.
    """
    if key is None:
        return (NO_KEY,)
    # Sarama divides, and then takes off the sign
    hashes = {CRC32: zlib.crc32(key), FNV1A: abs(_fnv1a(key))}
    return tuple(name for name, number in hashes.items() if number % partitions == partition)


def advice(partitioners: Sequence[str]) -> str:
    """Who seems to have placed a record, and what to do."""
    if NO_KEY in partitioners:
        return f"{USED_BY[NO_KEY]}: key each by its user id"
    said = " or ".join(USED_BY[name] for name in partitioners)
    return f"{f'that is where {said} puts records' if said else UNKNOWN}: use murmur2 ({MURMUR2})"


def _positive(hashes: UInts, partitions: int) -> Longs:
    return (hashes & np.uint32(SIGN_BIT_OFF)).astype(np.int64) % partitions


def _murmur2_of(key: bytes) -> int:
    """Kafka's hash of one key."""
    size = len(key)
    factor = int(FACTOR)
    found = int(SEED) ^ size
    whole = size & ~3
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        mixed = word * factor & UNSIGNED
        found = found * factor & UNSIGNED ^ (mixed ^ mixed >> 24) * factor & UNSIGNED
    if rest := key[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * factor & UNSIGNED
    found = (found ^ found >> 13) * factor & UNSIGNED
    return found ^ found >> 15


def _murmur2(keys: Sequence[bytes], sizes: Longs) -> UInts:
    """Kafka's hash of each key, (n,)."""
    joined = b"".join(keys) + b"\0\0\0\0"
    # the four bytes at each place
    words = np.ndarray((len(joined) - 3,), dtype="<u4", buffer=joined, strides=(1,))
    at = np.cumsum(sizes) - sizes
    found = SEED ^ sizes.astype(np.uint32)
    left = sizes >> 2
    for done in range(int(left.max(initial=0))):
        longer = slice(None) if done < left.min() else np.flatnonzero(left > done)
        word = words[at[longer] + 4 * done] * FACTOR
        found[longer] = found[longer] * FACTOR ^ (word ^ word >> np.uint32(24)) * FACTOR
    rest = sizes & 3
    ended = (found ^ words[at + 4 * left] & ENDS[rest]) * FACTOR
    found = np.where(rest > 0, ended, found)
    found = (found ^ found >> np.uint32(13)) * FACTOR
    return np.asarray(found ^ found >> np.uint32(15))


def _fnv1a(key: bytes) -> int:
    number = 0x811C9DC5
    for byte in key:
        number = (number ^ byte) * 0x01000193 & UNSIGNED
    return number - (1 << 32) if number >> 31 else number  # as a signed number
