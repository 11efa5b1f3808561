"""What can go wrong, and whether to try again.

Each class says by `retriable` whether the same call may succeed later; `actors.calls.status` maps
each to one gRPC status. A message names what happened, with the values, and what to do about it.
"""

from __future__ import annotations

from model.errors import BundleError, EchoRankError

__all__ = ["BundleError", "EchoRankError"]


class InvalidRequest(EchoRankError):
    """A request breaks a rule; `field` names the part, for `BadRequest` details."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BadRecord(EchoRankError):
    """A record on the clicks topic cannot be used; `reason` is a short, countable code.

    Of one in a wrong partition, `partitioners` names those that would have put it there.
    """

    def __init__(self, reason: str, message: str, partitioners: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.partitioners = partitioners


class OffsetGap(EchoRankError):
    """A batch starts beyond what is applied: the caller must seek to `expected` and send again."""

    retriable = True

    def __init__(self, partition: int, expected: int, start: int) -> None:
        super().__init__(
            f"partition {partition}: the batch starts at offset {start}, but the next offset to "
            f"apply is {expected}; seek there and send again"
        )
        self.partition = partition
        self.expected = expected
        self.start = start


class TombstoneTooLow(EchoRankError):
    """A replica is at `position`, beyond the offset below which a user was
    to be erased: try a higher offset.
    """

    retriable = True

    def __init__(self, partition: int, until: int, position: int) -> None:
        super().__init__(
            f"partition {partition}: a user cannot be erased below offset {until} at a replica "
            f"that is at {position} already; erase again, until there at least"
        )
        self.partition = partition
        self.until = until
        self.position = position

    def __reduce__(self) -> tuple[type[TombstoneTooLow], tuple[int, int, int]]:
        return type(self), (self.partition, self.until, self.position)


class ErasureIncomplete(EchoRankError):
    """A user is not gone from every place yet; the same call goes on where this one ended."""

    retriable = True


class NotOwner(EchoRankError):
    """This shard does not own the partition (any more); ask for the routing table again."""

    retriable = True


class UnknownShard(NotOwner):
    """No shard of that name is part of the deployment."""

    retriable = False


class StaleEpoch(EchoRankError):
    """The caller's epoch is older than the partition's: somebody else owns it now."""


class Superseded(EchoRankError):
    """Another coordinator has begun a newer generation on the state
    directory: this process must end.
    """


class OtherRun(Superseded):
    """A restarted coordinator finds that another run has taken over the state
    directory: it must not come back.
    """


class ShardUnavailable(EchoRankError):
    """The shard that owns the partition cannot be reached or is restoring."""

    retriable = True


class Overloaded(EchoRankError):
    """The queue is full; come back after `retry_after_s` seconds."""

    retriable = True

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StreamIdle(EchoRankError):
    """No question came on a stream for so long that it was closed;
    the next question opens another.
    """

    retriable = True


class Draining(EchoRankError):
    """This server takes no new requests because it is about to stop."""

    retriable = True


class Unauthenticated(EchoRankError):
    """The caller does not show the token that the call needs."""


class NotServedHere(EchoRankError):
    """Another server answers this method; the message says which."""


class UnknownArm(EchoRankError):
    """A request names an arm that is not deployed."""


class DeadlineExceeded(EchoRankError):
    """The caller's time ran out before an answer of any level was possible."""


class SnapshotError(EchoRankError):
    """A snapshot cannot be written, or none can be read."""


class ArchiveError(EchoRankError):
    """The archive cannot be listed, read or written."""

    retriable = True


class ColdTierError(EchoRankError):
    """The disk cannot take users that the memory has no room for,
    or let go of one; nothing is lost.
    """

    retriable = True


class ConfigError(EchoRankError):
    """The configuration cannot be used."""


class BrokerUnavailable(EchoRankError):
    """No Kafka broker answers."""

    retriable = True


class RecordsRefused(EchoRankError):
    """The broker will never take some records of a batch,
    by their place in it; all others are written.
    """

    def __init__(self, topic: str, refused: dict[int, str]) -> None:
        super().__init__(
            f"topic {topic} takes {len(refused)} records never: "
            f"{', '.join(sorted({*refused.values()}))}"
        )
        self.refused = refused


class OffsetOutOfRange(EchoRankError):
    """The log does not hold the wanted offset: deleted by retention,
    cut off, or the topic was made anew.
    """

    def __init__(self, partition: int, wanted: int) -> None:
        super().__init__(
            f"partition {partition}: offset {wanted} is not in the log; compare the topic's "
            "retention with the age of the snapshots, and check whether the topic was recreated"
        )
        self.partition = partition
        self.wanted = wanted


class OtherLog(EchoRankError):
    """The log is not the one any more that was read up to `wanted`:
    going on would mix two histories.
    """

    def __init__(self, partition: int, wanted: int, what: str) -> None:
        super().__init__(
            f"partition {partition}: what was read up to offset {wanted} belongs to another log: "
            f"{what}. Nothing more is read; bring the old log back, or point state.directory and "
            "archive.directory to empty directories"
        )
        self.partition = partition
        self.wanted = wanted
        self.what = what

    def __reduce__(self) -> tuple[type[OtherLog], tuple[int, int, str]]:
        return type(self), (self.partition, self.wanted, self.what)
