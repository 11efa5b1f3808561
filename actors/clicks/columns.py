"""Many record values at once, as columns of ids and times:
the fast path beside `actors.clicks.formats.parser`.

Only values of the usual shape are read here: the others come back unread, and whoever calls this
reads them one by one with the parser, which alone decides what is wrong with them. So what is read
here must be what the parser would read, and nothing here has a reason or a message. A row that was
not read has the time 0, which no click has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from actors.clicks.click import Click
from actors.clicks.formats import CEILING_MS, EventFormat, JsonParser
from actors.clicks.json_text import may_be_nested_too_deep
from actors.errors import BadRecord
from model.arrays import Bools, Bytes, Longs

# number of the field << 3 | wire type
USER_TAG = 0x0A
ITEM_TAG = 0x12
TIME_TAG = 0x18
ACTION_TAG = 0x22
# of a varint: up to 16,383 and beyond the year 2100
LENGTH_BYTES = 2
TIME_BYTES = 6
NOWHERE = 1 << 40  # a place that is no value's end
KINDS = (str, str, str, int)  # of user, item, action and time in JSON
UNREAD = Click("", "", "", 0)


class Columns(NamedTuple):
    """The ids as UTF-8, within their bounds, and the times of n values;
    a row with the time 0 was not read.
    """

    users: list[bytes]
    items: list[bytes]
    actions: list[bytes]
    times_ms: Longs  # (n,)


def reader(event_format: EventFormat) -> Callable[[Sequence[bytes]], Columns]:
    """The function that reads many values of a format."""
    return (
        _ProtobufReader(event_format)
        if event_format.format == "protobuf"
        else _JsonReader(event_format)
    )


class _JsonReader:
    """Reads with orjson what it and the standard library understand alike.

    orjson refuses NaN, unpaired surrogates and invalid UTF-8 anywhere, and makes floats of integers
    beyond 64 bits, none of which passes as an id or as a time before 2100.
    """

    def __init__(self, event_format: EventFormat) -> None:
        paths = event_format.fields
        self._names = (paths.user, paths.item, paths.action, paths.time)
        self._flat = event_format.time_unit == "ms" and not any("." in name for name in self._names)
        self._parser = JsonParser(event_format)
        self._bytes_max = event_format.record_bytes_max
        self._longest = event_format.id_bytes_max

    def __call__(self, values: Sequence[bytes]) -> Columns:
        documents = [self._document(value) for value in values]
        columns: list[list[Any]] = [
            [document.get(name) for document in documents] for name in self._names
        ]
        if not self._flat or any(
            set(map(type, column)) != {kind} for column, kind in zip(columns, KINDS, strict=True)
        ):
            for row, document in enumerate(documents):
                self._correct(columns, row, document)
        users, items, actions = (list(map(str.encode, column)) for column in columns[:3])
        times_ms = np.array(
            [time_ms if 0 < time_ms <= CEILING_MS else 0 for time_ms in columns[3]], dtype=np.int64
        )
        for ids, least in ((users, 1), (items, 1), (actions, 0)):
            sizes = np.fromiter(map(len, ids), np.int64, len(ids))
            times_ms[(sizes < least) | (sizes > self._longest)] = 0
        return Columns(users, items, [action or b"click" for action in actions], times_ms)

    def _document(self, value: bytes) -> dict[str, Any]:
        """The value's object; an empty one if there is none to be read here.

        One with many brackets is read faster one by one, whatever its depth: many large objects at
        once are slow.
        """
        if len(value) > self._bytes_max or may_be_nested_too_deep(value):
            return {}
        try:
            document = orjson.loads(value)
        except ValueError:
            return {}
        return document if type(document) is dict else {}

    def _correct(self, columns: list[list[Any]], row: int, document: dict[str, Any]) -> None:
        """Read one row as the parser does, unless all four types are the usual ones already."""
        if self._flat and all(
            type(column[row]) is kind for column, kind in zip(columns, KINDS, strict=True)
        ):
            return
        try:
            click = self._parser.click(document)
        except BadRecord:
            click = UNREAD
        for column, value in zip(columns, click, strict=True):
            column[row] = value


class _ProtobufReader:
    """Reads `echorank.v1.Click` as serializers write it: each field once at most,
    in the order of their numbers.

    All values at once: each step moves one place in every value on to the next field. Whatever a
    step may have made of bytes that are no such field, a value counts as read only if all tags were
    right and the last step ended at its end.
    """

    def __init__(self, event_format: EventFormat) -> None:
        self._bytes_max = event_format.record_bytes_max
        self._longest = event_format.id_bytes_max

    def __call__(self, values: Sequence[bytes]) -> Columns:
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        joined = b"".join(values)
        wire = _Wire(np.frombuffer(joined + b"\0", dtype=np.uint8))
        ends = np.cumsum(sizes)
        at = ends - sizes
        right = (sizes > 0) & (sizes <= self._bytes_max)
        spans = []
        for tag in (USER_TAG, ITEM_TAG):
            right &= wire.byte(at) == tag
            size, at = wire.varint(at + 1, LENGTH_BYTES)
            right &= (size > 0) & (size <= self._longest)
            spans.append((at, at := at + size))
        right &= wire.byte(at) == TIME_TAG
        times_ms, at = wire.varint(at + 1, TIME_BYTES)
        acts = at < ends
        size, start = wire.varint(at + 1, LENGTH_BYTES)
        right &= ~acts | ((wire.byte(at) == ACTION_TAG) & (size <= self._longest))
        spans.append((np.where(acts, start, at), at := np.where(acts, start + size, at)))
        right &= at == ends
        users, items, actions = columns = [_cut(joined, *span, right) for span in spans]
        if not _is_text(columns):
            right &= [_is_text([[one] for one in ids]) for ids in zip(*columns, strict=True)]
        return Columns(
            users, items, [action or b"click" for action in actions], np.where(right, times_ms, 0)
        )


class _Wire:
    """Bytes, read at many places at once; beyond their end stands a 0."""

    def __init__(self, data: Bytes) -> None:
        self._data = data

    def byte(self, at: Longs) -> Bytes:
        """The byte at each place, (n,)."""
        return self._data.take(at, mode="clip")

    def varint(self, at: Longs, bytes_max: int) -> tuple[Longs, Longs]:
        """The number at each place and the place after it, each (n,);
        after a longer number is NOWHERE or beyond.
        """
        value = np.zeros(len(at), dtype=np.int64)
        goes_on = np.ones(len(at), dtype=bool)
        for number in range(bytes_max):
            byte = self.byte(at)
            value += np.where(goes_on, (byte & 0x7F).astype(np.int64) << (7 * number), 0)
            at = at + goes_on
            goes_on &= byte >= 0x80  # the bit that says so
            if not goes_on.any():
                break
        return value, at + NOWHERE * goes_on


def _cut(joined: bytes, starts: Longs, stops: Longs, right: Bools) -> list[bytes]:
    stops = np.where(right, stops, starts)
    return [joined[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def _is_text(columns: Sequence[Sequence[bytes]]) -> bool:
    """Whether each id is UTF-8 by itself:
    a line feed between them keeps the end of one from completing another.
    """
    try:
        for ids in columns:
            b"\n".join(ids).decode()
    except UnicodeDecodeError:
        return False
    return True
