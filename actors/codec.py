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
    future_time    the time is further ahead of the record's own than events.future_tolerance_s, or after 2100
    key_mismatch   the record's key is not the user id, so the click is in a partition where nobody looks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import xxhash

from actors.click import Click, ClickBatch
from actors.clock import Clock
from actors.dead_letter import DeadLetter
from actors.errors import BadRecord
from actors.event_format import EventFormat, parser

CEILING_MS = 4_102_444_800_000  # the year 2100: a time beyond is in another unit, whatever the record's own says


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


class Decoder:
    """Turns record values into clicks, and polls into batches.

    Ids are hashed without a cache: encoding and hashing one takes 55 ns, looking it up in an LRU cache 80 ns.
    """

    def __init__(self, event_format: EventFormat, clock: Clock) -> None:
        self._format, self._clock = event_format, clock
        self._parse = parser(event_format)
        self._tolerance_ms = int(event_format.future_tolerance_s * 1000)

    def decode(self, value: bytes | None, key: bytes | None = None, record_ms: int = -1) -> Click:
        """Read one record's value and check it.

        A record without a key is accepted: then the producer has to place it in the user's partition itself.
        How far ahead a click may be counts from `record_ms`, the record's timestamp, and never from a clock: owner,
        standby and replay must judge it alike, whenever and wherever they read it.

        Raises:
            BadRecord: the record cannot be used; `reason` is one of the codes above.
        """
        click = self._read(value)
        self._keys(click, key, self._latest_ms(record_ms))
        return click

    def decode_batch(
        self, partition: int, start: int, stop: int, records: Sequence[Record]
    ) -> tuple[ClickBatch, list[DeadLetter]]:
        """Split the records found in the offsets [start, stop) of a partition into clicks and dead letters.

        A record without a timestamp gets the present as its `record_ms`.
        """
        now_ms = self._clock.now_ms()
        dead: list[DeadLetter] = []
        keys: list[tuple[int, int, int]] = []  # user, item, action
        times: list[tuple[int, int, int]] = []  # offset, event time, record time
        for record in records:
            try:
                click, written_ms = self._read(record.value), record.timestamp
                keys.append(self._keys(click, record.key, self._latest_ms(written_ms)))
            except BadRecord as error:
                dead.append(DeadLetter.of(partition, record, error))
                continue
            times.append((record.offset, click.time_ms, written_ms if written_ms > 0 else now_ms))
        users, items, actions = np.array(keys, dtype=np.uint64).reshape(-1, 3).T.copy()  # (3, n)
        offsets, times_ms, record_ms = np.array(times, dtype=np.int64).reshape(-1, 3).T.copy()  # (3, n)
        return ClickBatch(
            partition=partition,
            start=start,
            stop=stop,
            offsets=offsets,
            users=users,
            items=items,
            actions=actions,
            times_ms=times_ms,
            record_ms=record_ms,
        ), dead

    def _latest_ms(self, record_ms: int) -> int:
        """The latest time that a click may have in a record of this timestamp; -1 stands for none."""
        return min(CEILING_MS, record_ms + self._tolerance_ms) if record_ms > 0 else CEILING_MS

    def _read(self, value: bytes | None) -> Click:
        if not value:
            raise BadRecord("empty_value", "the record has no value; a click needs at least user, item and time")
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
            user_bytes, item_bytes, action_bytes = user.encode(), item.encode(), action.encode()
        except UnicodeEncodeError as error:
            raise BadRecord("bad_text", f"an id cannot be written as UTF-8 ({error}); send valid Unicode") from error
        longest = self._format.id_bytes_max
        if not (0 < len(user_bytes) <= longest and 0 < len(item_bytes) <= longest >= len(action_bytes)):
            raise _bad_id(click, longest)
        if not 0 < time_ms <= latest_ms:
            raise _bad_time(time_ms, latest_ms)
        if key is not None and key != user_bytes:
            raise BadRecord(
                "key_mismatch",
                f"the record's key is {key[:64]!r}, but the user is {user[:64]!r}; key every click by its "
                f"user id, or it lies in a partition where nobody looks for this user",
            )
        intdigest = xxhash.xxh64_intdigest
        return intdigest(user_bytes), intdigest(item_bytes), intdigest(action_bytes)


def _bad_id(click: Click, longest: int) -> BadRecord:
    for name in ("user", "item", "action"):
        size = len(getattr(click, name).encode())
        if size == 0:
            return BadRecord("missing_id", f"{name} is missing or empty; send 1 to {longest} bytes of UTF-8")
        if size > longest:
            return BadRecord(
                "id_too_long",
                f"{name} has {size} bytes, more than events.id_bytes_max = {longest}; shorten it or raise the limit",
            )
    raise AssertionError("every id is within its bounds")


def _bad_time(time_ms: int, latest_ms: int) -> BadRecord:
    if time_ms <= 0:
        return BadRecord("bad_time", f"the time is {time_ms} ms, not after 1970; check events.time_unit")
    return BadRecord(
        "future_time",
        f"the time is {time_ms} ms, beyond {latest_ms} (the record's time + events.future_tolerance_s, at most year "
        f"2100); check events.time_unit and the producer's clock",
    )
