"""Records that cannot be used, kept on a topic of their own with the reason."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.errors import BadRecord, RecordsRefused
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

MESSAGE_MAX = 1000  # characters of a reason
CUT = 8  # how much shorter a refused letter is tried next
# names as of KIP-1034, so that tools for Kafka Streams' dead letters read ours
HEADER = "__streams.errors."
TRUNCATED = "__echorank.truncated."  # + key or value: the original number of bytes


class BadRecordSource(Protocol):
    """What is kept of the record itself."""

    @property
    def offset(self) -> int: ...  # noqa: D102

    @property
    def key(self) -> bytes | None: ...  # noqa: D102

    @property
    def value(self) -> bytes | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One unusable record: where it stood, what it held, and why it cannot be used."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    message: str
    # of a record in a wrong partition: who would have put it there
    partitioners: tuple[str, ...] = ()

    @classmethod
    def of(cls, partition: int, record: BadRecordSource, error: BadRecord) -> DeadLetter:
        """The dead letter of `record`."""
        return cls(
            partition=partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            reason=error.reason,
            message=str(error),
            partitioners=error.partitioners,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutRecord:
    """A record to be written."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class RecordSink(Protocol):
    """Somewhere to write records durably."""

    def write(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Write all `records` and return when every in-sync replica has them.

        Raises:
            BrokerUnavailable: at least one was not acknowledged; others may have been.
            RecordsRefused: some will never be taken; the others are written.
        """
        ...


class LetterMarks(Protocol):
    """Where it is kept, by partition, below which offset all letters are written."""

    def load(self) -> Mapping[int, int]:
        """The marks there are; BrokerUnavailable if they cannot be had."""
        ...

    def save(self, below: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to save marks, without waiting; call `on_error` if that fails."""


class NoMarks:
    """Keeps nothing: what an earlier process wrote is not known."""

    def load(self) -> Mapping[int, int]:
        """None."""
        return {}

    def save(self, below: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Do nothing."""


NO_MARKS = NoMarks()


class DeadLetters:
    """Writes dead letters to `topic`, and `marks` keep which are there.

    Ingest sends them before it applies the batch they were in, so a crash between writing and
    marking writes them a second time rather than never: the headers name partition and offset, by
    which a reader can drop doubles. Keys and values longer than `bytes_max` are cut, and a header
    gives the original length, so that a record which just fitted into the clicks topic still fits
    with the headers added. A letter that the topic refuses all the same is cut further; what it
    refuses in any size is counted, logged with its offset, and passed, because the clicks behind it
    must not wait for ever.
    """

    def __init__(
        self,
        sink: RecordSink,
        *,
        topic: str,
        source_topic: str,
        metrics: Metrics,
        bytes_max: int = 450_000,
        marks: LetterMarks = NO_MARKS,
    ) -> None:
        self._sink = sink
        self._topic = topic
        self._source_topic = source_topic
        self._metrics = metrics
        self._bytes_max = bytes_max
        self.marks = marks

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Write `letters`; they are durable and counted when this returns.

        Raises:
            BrokerUnavailable: some may not be written; none was counted; send all again.
        """
        try:
            self._sink.write(
                self._topic, [self._record(letter, self._bytes_max) for letter in letters]
            )
        except RecordsRefused as error:
            for at in sorted(error.refused):
                self._send_cut(letters[at])
        for reason, count in Counter(letter.reason for letter in letters).items():
            self._metrics.dlq_total.labels(reason).inc(count)
        for partitioner, count in Counter(
            name for letter in letters for name in letter.partitioners
        ).items():
            self._metrics.misplaced_total.labels(partitioner).inc(count)
        for partition, count in Counter(letter.partition for letter in letters).items():
            self._metrics.events_total.labels(partition, "dead_letter").inc(count)

    def _send_cut(self, letter: DeadLetter) -> None:
        """Write a refused letter by itself, as it was and then ever shorter."""
        bytes_max = self._bytes_max
        while True:
            try:
                return self._sink.write(self._topic, [self._record(letter, bytes_max)])
            except RecordsRefused as error:
                if bytes_max == 0:
                    self._metrics.dlq_refused_total.labels(letter.reason).inc()
                    log.error(
                        "partition %d: the dead letter of offset %d is not kept, as its topic "
                        "refuses it in any size (%s). Check max.message.bytes and cleanup.policy "
                        "of topic %s. It was: %s",
                        *(
                            letter.partition,
                            letter.offset,
                            error,
                            self._topic,
                            letter.message[:MESSAGE_MAX],
                        ),
                    )
                    return None
                bytes_max //= CUT

    def _record(self, letter: DeadLetter, bytes_max: int) -> OutRecord:
        headers = [
            (HEADER + "exception", f"BadRecord.{letter.reason}".encode()),
            (
                HEADER + "message",
                letter.message[: min(MESSAGE_MAX, bytes_max)].encode(errors="replace"),
            ),
            (HEADER + "topic", self._source_topic.encode()),
            (HEADER + "partition", str(letter.partition).encode()),
            (HEADER + "offset", str(letter.offset).encode()),
        ]
        for name, content in (("key", letter.key), ("value", letter.value)):
            if content is not None and len(content) > bytes_max:
                headers.append((TRUNCATED + name, str(len(content)).encode()))
        return OutRecord(
            key=_cut(letter.key, bytes_max),
            value=_cut(letter.value, bytes_max),
            headers=tuple(headers),
        )


def _cut(content: bytes | None, bytes_max: int) -> bytes | None:
    return content if content is None else content[:bytes_max]
