"""Reading many values together gives what reading them one by one gives, whatever they are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clicks import codec
from actors.clicks import columns as click_columns
from actors.clicks.click import Click
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, FieldPaths, encode
from actors.clock import ManualClock
from tests.actors.clicks.both_ways import check
from tests.actors.clicks.click_records import FORMATS, JSON, NOW_MS, PROTOBUF, Record, clicks
from tests.actors.clicks.odd_records import LIMITS, ODD_JSON, ODD_PROTOBUF, USUAL, protobuf


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
        Record(n, b"\xff" if n in bad else protobuf(time_ms=n + 1))
        for n in range(2 * codec.TOGETHER_MAX + 1)
    ]
    batch, dead = Decoder(PROTOBUF, ManualClock(NOW_MS)).decode_batch(0, 0, len(records), records)
    assert {letter.offset for letter in dead} == bad
    assert np.array_equal(batch.times_ms, batch.offsets + 1)
    assert len(batch) == len(records) - len(bad)
