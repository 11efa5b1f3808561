"""Records in, clicks out; what is no click becomes a dead letter with its reason.

Reasons, each a value of `dlq_total{reason}`
    empty_value    no value: a tombstone has no meaning on the clicks topic
    too_large      longer than events.record_bytes_max
    undecodable    not of the configured format
    wrong_type     a JSON field holds another type
    missing_id     user or item is missing or empty
    id_too_long    user, item or action is longer than events.id_bytes_max
    bad_text       an id is no valid Unicode (an unpaired surrogate in JSON)
    bad_time       the time is missing, unreadable, zero or negative
    future_time    the time is further ahead of the record's own than events.future_tolerance_s, or
                   after 2100
    key_mismatch   the record's key is not the user id, so the click is in a partition where nobody
                   looks
    wrong_partition  the record is not in its user's partition, so nobody would look there for what
                     it says
    unknown_action  the action, after events.action_map, is none of events.actions
    unforeseen     reading it failed as nothing above foresees; the log says where it stands and how
                   it failed
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import xxhash

from actors.clicks import columns as click_columns
from actors.clicks.click import Click, ClickBatch
from actors.clicks.columns import Columns
from actors.clicks.dead_letter import DeadLetter
from actors.clicks.empty_stack import on_empty_stack
from actors.clicks.excerpt import excerpt, of_error
from actors.clicks.formats import CEILING_MS, NEVER_MS, EventFormat, parser
from actors.clicks.partitioner import advice, fits, homes, partition_of
from actors.clock import Clock
from actors.errors import BadRecord
from model.arrays import Bools, Keys, Longs

log = logging.getLogger(__name__)

TOGETHER_MIN = 50  # records that cost as much read together as one by one
TOGETHER_MAX = 2048  # records whose values and columns stay in the processor's cache


class Record(Protocol):
    """What is used of a Kafka record."""

    @property
    def offset(self) -> int: ...  # noqa: D102

    @property
    def timestamp(self) -> int: ...  # noqa: D102

    @property
    def key(self) -> bytes | None: ...  # noqa: D102

    @property
    def value(self) -> bytes | None: ...  # noqa: D102


class _Alone(NamedTuple):
    """A record of which nobody says where it stands."""

    value: bytes | None
    key: bytes | None
    timestamp: int
    offset: int = -1


class Decoder:
    """Turns record values into clicks, and polls into batches.

    Total: whatever a record holds, it is a click or a `BadRecord`, and the same one on any stack.

    Ids are hashed without a cache: encoding and hashing one takes 55 ns, looking it up in an LRU
    cache 80 ns. Fewer than `together_min` records are read one by one.
    """

    def __init__(
        self,
        event_format: EventFormat,
        clock: Clock,
        *,
        partitions: int | None = None,
        together_min: int = TOGETHER_MIN,
    ) -> None:
        self._partitions = partitions
        self._format = event_format
        self._clock = clock
        self._together_min = together_min
        self._parse = parser(event_format)
        self._columns = click_columns.reader(event_format)
        self._action_map = {
            name.encode(): known.encode() for name, known in event_format.action_map.items()
        }
        self._actions = {name.encode() for name in event_format.actions}
        self._tolerance_ms = min(int(event_format.future_tolerance_s * 1000), CEILING_MS)

    def decode(self, value: bytes | None, key: bytes | None = None, record_ms: int = -1) -> Click:
        """Read one record's value and check it, but for the partition, which nobody says.

        A record without a key is accepted: then the producer has to place it in the user's
        partition itself. How far ahead a click may be counts from `record_ms`, the record's
        timestamp, and never from a clock: owner, standby and replay must judge it alike, whenever
        and wherever they read it.

        Raises:
            BadRecord: the record cannot be used; `reason` is one of the codes above.
        """
        return self._judge(_Alone(value, key, record_ms), None)[0]

    def decode_record(self, partition: int, record: Record) -> Click:
        """`decode` one record of a partition."""
        return self._judge(record, partition)[0]

    def decode_batch(
        self, partition: int, start: int, stop: int, records: Sequence[Record]
    ) -> tuple[ClickBatch, list[DeadLetter]]:
        """Split the records found in the offsets [start,
        stop) of a partition into clicks and dead letters.

        A record without a timestamp gets the present as its `record_ms`. Records of the usual shape
        are read together; each other one by `decode`'s way, as all of a few are.
        """
        written_ms = _numbers(record.timestamp for record in records)
        keys, times_ms, usual = self._together(partition, records, written_ms)
        dead: list[DeadLetter] = []
        for row in np.flatnonzero(~usual).tolist():
            record = records[row]
            try:
                click, keys[:, row] = self._judge(record, partition)
            except BadRecord as error:
                dead.append(DeadLetter.of(partition, record, error))
            else:
                times_ms[row] = click.time_ms
                usual[row] = True
        users, items, actions = keys if not dead else keys[:, usual]
        return ClickBatch(
            partition=partition,
            start=start,
            stop=stop,
            offsets=_numbers(record.offset for record in records)[usual],
            users=users,
            items=items,
            actions=actions,
            times_ms=times_ms[usual],
            record_ms=np.where(written_ms > 0, written_ms, self._clock.now_ms())[usual],
        ), dead

    def _together(
        self, partition: int, records: Sequence[Record], written_ms: Longs
    ) -> tuple[Keys, Longs, Bools]:
        """Ids as keys (3, n), times (n,), and which records they are of (n,);
        the others are to be read one by one.
        """
        count = len(records)
        keys = np.zeros((3, count), dtype=np.uint64)
        times_ms = np.zeros(count, dtype=np.int64)
        usual = np.zeros(count, dtype=bool)
        latest_ms = np.where(
            written_ms > 0, np.minimum(CEILING_MS, written_ms + self._tolerance_ms), CEILING_MS
        )
        for start in range(0, count if count >= self._together_min else 0, TOGETHER_MAX):
            some = slice(start, start + TOGETHER_MAX)
            try:
                found = self._columns([record.value or b"" for record in records[some]])
                self._fill(found, keys[:, some], times_ms[some])
                usual[some] = self._are_usual(found, records[some], latest_ms[some], partition)
            except MemoryError:
                raise
            except Exception:
                log.exception("records of a poll cannot be read together and are read one by one")
        return keys, times_ms, usual

    def _are_usual(
        self, found: Columns, records: Sequence[Record], latest_ms: Longs, partition: int
    ) -> Bools:
        """Which values (n,) were read and are clicks,
        keyed by their users and in the users' partition.
        """
        usual: Bools = (found.times_ms > 0) & (found.times_ms <= latest_ms)
        if (keys := [record.key for record in records]) != found.users:
            usual &= [
                key is None or key == user for key, user in zip(keys, found.users, strict=True)
            ]
        if self._partitions:
            usual &= homes(found.users, self._partitions) == partition
        if self._actions:
            usual &= [
                self._action_map.get(action, action) in self._actions for action in found.actions
            ]
        return usual

    def _fill(self, found: Columns, keys: Keys, times_ms: Longs) -> None:
        """The columns of values that were read: keys (3, n), times (n,)."""
        times_ms[:] = found.times_ms
        actions = found.actions
        if self._action_map:
            actions = [self._action_map.get(action, action) for action in actions]
        for row, ids in enumerate((found.users, found.items, actions)):
            keys[row] = np.fromiter(map(xxhash.xxh64_intdigest, ids), np.uint64, len(ids))

    def _latest_ms(self, record_ms: int) -> int:
        """The latest time that a click may have in a record of this
        timestamp; -1 stands for none.
        """
        return min(CEILING_MS, record_ms + self._tolerance_ms) if record_ms > 0 else CEILING_MS

    def _judge(self, record: Record, partition: int | None) -> tuple[Click, tuple[int, int, int]]:
        """A click and its ids as keys;
        BadRecord for everything else, whatever reading it raises.
        """
        try:
            return self._check(record, partition)
        except (BadRecord, MemoryError):
            # memory that is short is no record's fault: to be read again
            raise
        except Exception as error:
            return self._judge_again(record, partition, error)

    def _judge_again(
        self, record: Record, partition: int | None, error: Exception
    ) -> tuple[Click, tuple[int, int, int]]:
        """The last resort: on an empty stack if this one had no room, and else a dead letter."""
        try:
            if isinstance(error, RecursionError):
                return on_empty_stack(self._check, record, partition)
        except (BadRecord, MemoryError):
            raise
        except Exception as again:
            error = again
        said = of_error(error)
        log.error(
            "partition %s, offset %d: a dead letter, as reading it failed: %s",
            partition,
            record.offset,
            said,
        )
        raise BadRecord(
            "unforeseen", f"reading it failed ({said}); please report this fault of EchoRank's"
        ) from error

    def _check(self, record: Record, partition: int | None) -> tuple[Click, tuple[int, int, int]]:
        click = self._read(record.value)
        if (known := self._format.action_map.get(click.action)) is not None:
            click = click._replace(action=known)
        keys = self._keys(click, record.key, self._latest_ms(record.timestamp))
        if partition is not None and self._partitions:
            _check_home(click.user, record.key, partition, self._partitions)
        return click, keys

    def _read(self, value: bytes | None) -> Click:
        if not value:
            raise BadRecord(
                "empty_value", "the record has no value; a click needs at least user, item and time"
            )
        if len(value) > self._format.record_bytes_max:
            raise BadRecord(
                "too_large",
                f"the value has {len(value)} bytes, more than events.record_bytes_max = "
                f"{self._format.record_bytes_max}; send less or raise the limit",
            )
        return self._parse(value)

    def _keys(self, click: Click, key: bytes | None, latest_ms: int) -> tuple[int, int, int]:
        """Check a click and hash its ids: user, item, action."""
        user, item, action, time_ms = click
        try:
            user_bytes = user.encode()
            item_bytes = item.encode()
            action_bytes = action.encode()
        except UnicodeEncodeError as error:
            said = of_error(error)
            raise BadRecord(
                "bad_text", f"an id cannot be written as UTF-8 ({said}); send valid Unicode"
            ) from error
        longest = self._format.id_bytes_max
        if not (
            0 < len(user_bytes) <= longest and 0 < len(item_bytes) <= longest >= len(action_bytes)
        ):
            raise _bad_id(click, longest)
        if not 0 < time_ms <= latest_ms:
            raise _bad_time(time_ms, latest_ms)
        if self._format.actions and action not in self._format.actions:
            raise BadRecord(
                "unknown_action",
                (
                    f"the action is {excerpt(action)}, none of events.actions; add it there or to "
                    "events.action_map"
                ),
            )
        if key is not None and key != user_bytes:
            raise BadRecord(
                "key_mismatch",
                f"the record's key is {excerpt(key, 64)}, but the user is {excerpt(user, 64)}; "
                "key every click by its user id, or it lies in a partition where nobody looks for "
                "this user",
            )
        intdigest = xxhash.xxh64_intdigest
        return intdigest(user_bytes), intdigest(item_bytes), intdigest(action_bytes)


def _check_home(user: str, key: bytes | None, partition: int, partitions: int) -> None:
    if (right := partition_of(user, partitions)) == partition:
        return
    by = fits(key, partition, partitions)
    raise BadRecord(
        "wrong_partition",
        f"the record lies in partition {partition}, but user {excerpt(user, 64)} lives in {right} "
        f"(murmur2 of the id mod {partitions}), where nobody would find it; {advice(by)}",
        by,
    )


def _numbers(values: Iterable[int]) -> Longs:
    return np.fromiter(values, np.int64)


def _bad_id(click: Click, longest: int) -> BadRecord:
    for name in ("user", "item", "action"):
        size = len(getattr(click, name).encode())
        if size == 0:
            return BadRecord(
                "missing_id", f"{name} is missing or empty; send 1 to {longest} bytes of UTF-8"
            )
        if size > longest:
            return BadRecord(
                "id_too_long",
                (
                    f"{name} has {size} bytes, more than events.id_bytes_max = {longest}; shorten "
                    "it or raise the limit"
                ),
            )
    raise AssertionError("every id is within its bounds")


def _bad_time(time_ms: int, latest_ms: int) -> BadRecord:
    shown = (
        f"{time_ms} ms" if abs(time_ms) < NEVER_MS else f"{'-' * (time_ms < 0)}10^19 ms or beyond"
    )
    if time_ms <= 0:
        return BadRecord("bad_time", f"the time is {shown}, not after 1970; check events.time_unit")
    return BadRecord(
        "future_time",
        f"the time is {shown}, beyond {latest_ms} (the record's time + events.future_tolerance_s, "
        "at most year 2100); check events.time_unit and the producer's clock",
    )
