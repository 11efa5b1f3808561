"""Reading many values together gives what reading them one by one gives, whatever they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clicks import codec
from actors.clicks import columns as click_columns
from actors.clicks.click import Click, key
from actors.clicks.codec import Decoder
from actors.clicks.formats import CEILING_MS, EventFormat, FieldPaths, encode
from actors.clock import ManualClock
from actors.errors import BadRecord
from rpc import events_pb2
from tests.actors.clicks.test_codec import FORMATS, NOW_MS, PROTOBUF, Record, clicks, json_click

JSON = EventFormat(format="json")
LIMITS = {"record_bytes_max": 5_000, "id_bytes_max": 200}
USUAL = Click("user-1", "item-1", "view", NOW_MS - 7)


def _wire(*parts: tuple[int, bytes]) -> bytes:
    """Length-delimited fields of ASCII, by their tags."""
    return b"".join(bytes([tag, len(content)]) + content for tag, content in parts)


def _protobuf(**fields: Any) -> bytes:
    return events_pb2.Click(
        **{"user": "u", "item": "i", "time_ms": 5, "action": "a"} | fields
    ).SerializeToString()


IDS = _wire((0x0A, b"u"), (0x12, b"i"))
TIMED = IDS + b"\x18\x05"
ODD_PROTOBUF = [
    *(None, b"", b"\x0a", b"\x0a\x05u", b"\xff", IDS, TIMED, b"x" * 5_001, b'{"user": "u"}'),
    *(
        _protobuf(user=""),
        _protobuf(item=""),
        _protobuf(action=""),
        _protobuf(time_ms=0),
        _protobuf(time_ms=-1),
    ),
    *(
        _protobuf(time_ms=number)
        for number in (127, 128, CEILING_MS, CEILING_MS + 1, 2**42, 2**43, 2**63 - 1)
    ),
    *(
        _protobuf(**{name: "x" * size})
        for name in ("user", "item", "action")
        for size in (127, 128, 200, 201, 4_900)
    ),
    *(
        _protobuf(**{name: "ü" * size})
        for name in ("user", "item", "action")
        for size in (1, 100, 101)
    ),
    TIMED + b"\x22\x00",  # an action of nothing
    TIMED + b"\x22\x05a",  # cut off
    TIMED + b"\x22\x01aa",  # something behind
    TIMED + b"\x2a\x01x",  # a field of a later version
    TIMED + TIMED,  # every field twice: the last one counts
    TIMED + b"\x18\x09",
    b"\x18\x05" + IDS,  # another order
    _wire((0x12, b"i"), (0x0A, b"u")) + b"\x18\x05",
    IDS + b"\x18\x85\x00",  # more bytes than the number needs
    IDS + b"\x18\x85\x80\x80\x80\x80\x00",
    IDS + b"\x18\x85\x80\x80\x80\x80\x80\x00",
    IDS + b"\x18\x81\x80\x80\x80\x80\x80\x22\x22\x01a",  # a number's seventh byte looks like a tag
    IDS + b"\x18\x81\x80\x80\x80\x80\x80\x22\x01a",
    IDS + b"\x18\x81",  # a number without its end
    b"\x0a\x81\x00u" + b"\x12\x01i\x18\x05",
    b"\x0a\x81\x80\x00u" + b"\x12\x01i\x18\x05",
    b"\x8a\x00\x01u\x12\x01i\x18\x05",  # a tag of two bytes
    _wire((0x0A, b"\xff"), (0x12, b"i")) + b"\x18\x05",
    _wire((0x0A, b"u\xc3"), (0x12, b"\xbci")) + b"\x18\x05",  # one letter over two fields
    _wire((0x0A, b"\xed\xa0\x80"), (0x12, b"i")) + b"\x18\x05",  # a surrogate
    _wire((0x0A, b"\xc0\x80"), (0x12, b"i")) + b"\x18\x05",  # more bytes than the letter needs
    _wire((0x0A, b"u\n"), (0x12, b"\0")) + b"\x18\x05\x22\x01\xe4",
]
ODD_JSON = [
    *(
        None,
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"u"',
        b"\xff\xfe",
        b" {} ",
        b"\xef\xbb\xbf" + json_click(),
    ),
    *(json_click() + end for end in (b"\n", b"\0", b"{}", b",")),
    *(
        json_click(user=user)
        for user in (None, "", 0, -7, 2**63, 2**64, 10**30, 1.0, True, [], {}, "\ud800", "ü" * 101)
    ),
    *(
        json_click(item=item)
        for item in (None, "", 42, False, {"id": 1}, "x" * 201, "\u0000", "\n", "😀")
    ),
    *(json_click(action=action) for action in (None, "", 7, 1.5, [1], "x" * 201, "\udfff")),
    *(
        json_click(time=number)
        for number in (0, -1, 1.5, 0.2, -0.0, 1e3, 1e300, 2**63, 2**64, 10**400, "5", None, True)
    ),
    *(
        json_click(time=number)
        for number in (CEILING_MS, CEILING_MS + 1, float("nan"), float("inf"), [], "2026-01-31")
    ),
    *(
        json_click(extra=extra)
        for extra in (float("nan"), 2**64, 10**400, "\ud800", "ü", {"time": 9}, [[1]])
    ),
    json_click().replace(b'"time": 1', b'"time": 1, "time": 2'),  # the last one counts
    json_click().replace(b'"u"', b'"v", "user": "u"'),
    json_click().replace(b'"time": 1', b'"time": 1e400'),
    json_click().replace(b'"time": 1', b'"time": 01'),
    json_click().replace(b'"time": 1', b'"time": -0'),
    # Python's own limit is 4,300
    json_click().replace(b'"time": 1', b'"x": ' + b"9" * 4_400 + b', "time": 1'),
    json_click().replace(b'"u"', b'"\xff"'),
    json_click(extra="x").replace(b'"x"', b'"\xff"'),
    json_click(extra="x").replace(b'"x"', b'"\x01"'),
    json_click(extra="x").replace(b'"x"', b'"\\x"'),
    json_click(extra="x").replace(b'"x"', b"[" * 150 + b"]" * 150),
    # too deep for us, not for orjson
    json_click(extra="x").replace(b'"x"', b"[" * 1_000 + b"]" * 1_000),
    json_click(extra="x").replace(b'"x"', b"[" * 2_400 + b"]" * 2_400),
    json_click(extra="x" * 5_000),
    json.dumps({"user": "u", "item": "i", "time": 1}).encode(),
    json.dumps({"uid": 5, "product": {"id": "p", "kind": "buy"}, "ts": 9}).encode(),
    json.dumps({"uid": "5", "product": ["id"], "ts": "2026-01-31T12:00:00Z"}).encode(),
    json.dumps({"uid": "5", "product": {"id": "p"}, "ts": "2026-01-31T12:00:00+99:00"}).encode(),
]


def check(event_format: EventFormat, records: Sequence[Record]) -> None:
    """Compare with the same records read one by one, after enough others to be read together."""
    first = max((record.offset for record in records), default=0) + 1
    filling = [Record(first + n, encode(USUAL, event_format)) for n in range(codec.TOGETHER_MIN)]
    decoder = Decoder(event_format, ManualClock(NOW_MS))
    batch, dead = decoder.decode_batch(0, 0, first, [*records, *filling])
    expected = []
    reasons = []
    for record in [*records, *filling]:
        try:
            click = decoder.decode(record.value, record.key, record.timestamp)
        except BadRecord as error:
            reasons.append((record.offset, record.key, record.value, error.reason, str(error)))
            continue
        record_ms = record.timestamp if record.timestamp > 0 else NOW_MS
        ids = key(click.user), key(click.item), key(click.action)
        expected.append((record.offset, *ids, click.time_ms, record_ms))
    columns = (
        batch.offsets,
        batch.users,
        batch.items,
        batch.actions,
        batch.times_ms,
        batch.record_ms,
    )
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert [
        (letter.offset, letter.key, letter.value, letter.reason, letter.message) for letter in dead
    ] == reasons


@pytest.mark.parametrize("event_format", FORMATS, ids=lambda f: f"{f.format}-{f.time_unit}")
def test_all_usual_values_are_read_together(event_format: EventFormat) -> None:
    """What the project's own encoder writes never takes the slow way."""
    some = [
        USUAL,
        Click("ü" * 60, "i", "click", 1),
        Click("1", "\n", "😀", NOW_MS),
        Click("u" * 200, "i", "a", 5),
    ]
    found = click_columns.reader(event_format)([encode(click, event_format) for click in some])
    assert found.times_ms.tolist() == [click.time_ms for click in some]
    assert [ids.decode() for ids in found.users] == [click.user for click in some]
    assert [ids.decode() for ids in found.items] == [click.item for click in some]
    assert [ids.decode() for ids in found.actions] == [click.action for click in some]


@pytest.mark.parametrize(
    ("event_format", "odd"),
    [
        (EventFormat(**LIMITS), ODD_PROTOBUF),
        (EventFormat(format="json", **LIMITS), ODD_JSON),
        (EventFormat(format="json", time_unit="s", **LIMITS), ODD_JSON),
        (EventFormat(format="json", time_unit="iso8601", **LIMITS), ODD_JSON),
        *(
            (
                EventFormat(
                    format="json",
                    fields=FieldPaths(user="uid", item="product.id", time="ts"),
                    time_unit=unit,
                ),
                odd,
            )
            for unit in ("ms", "iso8601")
            for odd in (ODD_JSON,)
        ),
    ],
    ids=["protobuf", "json", "json-s", "json-iso8601", "json-nested", "json-nested-iso8601"],
)
def test_odd_values_are_judged_as_one_by_one(
    event_format: EventFormat, odd: list[bytes | None]
) -> None:
    """Hand-made values, each alone among usual ones and all at once:
    same clicks, same reasons, same messages.
    """
    for value in odd:
        check(event_format, [Record(0, value)])
    check(
        event_format,
        [Record(offset, value, b"u" if offset % 3 else None) for offset, value in enumerate(odd)],
    )


@pytest.mark.parametrize("event_format", FORMATS, ids=lambda f: f"{f.format}-{f.time_unit}")
@pytest.mark.parametrize("timestamp", [NOW_MS, 1, 0, -1, 2**63 - 1])
@pytest.mark.parametrize("record_key", [None, b"", b"user-1", b"user-2"])
def test_keys_and_timestamps_are_judged_as_one_by_one(
    event_format: EventFormat, timestamp: int, record_key: bytes | None
) -> None:
    """A record's own time bounds its click's,
    and its key must be the user, whichever way it is read.
    """
    ahead = [USUAL._replace(time_ms=NOW_MS + ms) for ms in (0, 86_399_999, 86_400_000, 86_400_001)]
    records = [
        Record(n, encode(click, event_format), record_key, timestamp)
        for n, click in enumerate(ahead)
    ]
    check(event_format, records)


values = (
    clicks.map(lambda click: encode(click, PROTOBUF))
    | st.binary(max_size=40)
    | st.sampled_from([value for value in ODD_PROTOBUF if value])
)


@given(
    st.lists(st.tuples(values, st.integers(0, 40), st.integers(0, 255), st.booleans()), max_size=20)
)
@settings(deadline=None)
def test_damaged_protobuf_is_judged_as_one_by_one(
    drawn: list[tuple[bytes, int, int, bool]],
) -> None:
    """Valid clicks of which a byte was changed or cut:
    neither they nor their neighbours come out otherwise.
    """
    records = []
    for offset, (value, at, byte, cut) in enumerate(drawn):
        at = min(at, len(value))  # noqa: PLW2901
        damaged = value[:at] if cut else value[:at] + bytes([byte]) + value[at + 1 :]
        records.append(Record(offset, damaged))
    check(PROTOBUF, records)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(NOW_MS)
)
objects = st.dictionaries(
    st.sampled_from(["user", "item", "time", "action", "uid", "product", "ts", "id", "kind"]),
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("id"), inner)
    ),
)


@pytest.mark.parametrize(
    "event_format", [JSON, *FORMATS[1:]], ids=lambda f: f"{f.fields.user}-{f.time_unit}"
)
@given(drawn=st.lists(objects | scalars, max_size=20))
@settings(deadline=None)
def test_any_json_is_judged_as_one_by_one(event_format: EventFormat, drawn: list[Any]) -> None:
    """Documents of any shape, with NaN, huge numbers and lone surrogates, among usual clicks."""
    check(
        event_format,
        [Record(offset, json.dumps(document).encode()) for offset, document in enumerate(drawn)],
    )


def test_a_long_poll_is_read_in_parts() -> None:
    """Parts join without a seam, and a bad record keeps its place in each."""
    bad = {0, codec.TOGETHER_MAX - 1, codec.TOGETHER_MAX, 2 * codec.TOGETHER_MAX}
    records = [
        Record(n, b"\xff" if n in bad else _protobuf(time_ms=n + 1))
        for n in range(2 * codec.TOGETHER_MAX + 1)
    ]
    batch, dead = Decoder(PROTOBUF, ManualClock(NOW_MS)).decode_batch(0, 0, len(records), records)
    assert {letter.offset for letter in dead} == bad
    assert np.array_equal(batch.times_ms, batch.offsets + 1)
    assert len(batch) == len(records) - len(bad)
