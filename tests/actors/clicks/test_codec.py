"""Decoding: any valid click survives, and nothing else gets through or crashes it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clicks.click import Click, key
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, FieldPaths, encode
from actors.clock import ManualClock
from actors.errors import BadRecord, ConfigError
from tests.actors.clicks.click_records import (
    FORMATS,
    NOW_MS,
    PROTOBUF,
    Record,
    clicks,
    decoder,
    json_click,
    outcome,
)

REASONS = {
    *(
        "empty_value",
        "too_large",
        "undecodable",
        "wrong_type",
        "missing_id",
        "id_too_long",
        "bad_text",
        "bad_time",
    ),
    *("future_time", "key_mismatch", "wrong_partition", "unknown_action"),
}


@pytest.mark.parametrize("event_format", FORMATS, ids=lambda f: f"{f.format}-{f.time_unit}")
@given(click=clicks)
def test_every_valid_click_survives_the_wire(event_format: EventFormat, click: Click) -> None:
    """Encoding and decoding give the same click, in both formats and all units of time."""
    assert decoder(event_format).decode(encode(click, event_format), click.user.encode()) == click


@pytest.mark.parametrize("event_format", FORMATS, ids=lambda f: f"{f.format}-{f.time_unit}")
@given(value=st.binary(max_size=200), record_key=st.none() | st.binary(max_size=20))
def test_arbitrary_bytes_give_a_click_or_a_reason(
    event_format: EventFormat, value: bytes, record_key: bytes | None
) -> None:
    """No value and no key can do more than become a dead letter."""
    found = outcome(event_format, value, record_key)
    if isinstance(found, Click):
        assert found.user
        assert found.item
        assert 0 < found.time_ms <= NOW_MS + 86_400_000
    else:
        assert found in REASONS


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["user", "item", "time", "action", "product"]), inner, max_size=5
            )
        ),
    ),
    unit=st.sampled_from(["ms", "s", "iso8601"]),
)
def test_arbitrary_json_gives_a_click_or_a_reason(document: Any, unit: Any) -> None:
    """JSON of any shape, with NaN, huge numbers and lone surrogates,
    never raises anything but BadRecord.
    """
    event_format = EventFormat(format="json", time_unit=unit)
    found = outcome(event_format, json.dumps(document).encode())
    assert isinstance(found, Click) or found in REASONS


@pytest.mark.parametrize(
    ("event_format", "value", "record_key", "reason", "said"),
    [
        (PROTOBUF, None, None, "empty_value", "no value"),
        (PROTOBUF, b"", None, "empty_value", "no value"),
        (PROTOBUF, b"x" * 70_000, None, "too_large", "70000 bytes"),
        (PROTOBUF, b'{"user": "u"}', None, "undecodable", "events.format: json"),
        (
            PROTOBUF,
            encode(Click("", "i", "click", 1), PROTOBUF),
            None,
            "missing_id",
            "user is missing",
        ),
        (
            PROTOBUF,
            encode(Click("u", "", "click", 1), PROTOBUF),
            None,
            "missing_id",
            "item is missing",
        ),
        (
            PROTOBUF,
            encode(Click("ü" * 129, "i", "click", 1), PROTOBUF),
            None,
            "id_too_long",
            "258 bytes",
        ),
        (
            PROTOBUF,
            encode(Click("u", "i" * 257, "click", 1), PROTOBUF),
            None,
            "id_too_long",
            "item has 257",
        ),
        (
            PROTOBUF,
            encode(Click("u", "i", "a" * 257, 1), PROTOBUF),
            None,
            "id_too_long",
            "action has 257",
        ),
        (PROTOBUF, encode(Click("u", "i", "click", 0), PROTOBUF), None, "bad_time", "0 ms"),
        (PROTOBUF, encode(Click("u", "i", "click", -7), PROTOBUF), None, "bad_time", "-7 ms"),
        (
            PROTOBUF,
            encode(Click("u", "i", "click", NOW_MS * 1000), PROTOBUF),
            None,
            "future_time",
            "time_unit",
        ),
        (PROTOBUF, encode(Click("u", "i", "click", 1), PROTOBUF), b"v", "key_mismatch", "b'v'"),
        (PROTOBUF, encode(Click("u", "i", "click", 1), PROTOBUF), b"", "key_mismatch", "b''"),
        (EventFormat(format="json"), b"{", None, "undecodable", "no JSON"),
        (EventFormat(format="json"), b"\xff\xfe", None, "undecodable", "no JSON"),
        (EventFormat(format="json"), b"[" * 60_000, None, "undecodable", "no JSON"),
        (EventFormat(format="json"), b"[1]", None, "wrong_type", "no object"),
        (EventFormat(format="json"), json_click(user=None), None, "missing_id", "user"),
        (EventFormat(format="json"), json_click(user=["u"]), None, "wrong_type", "list"),
        (EventFormat(format="json"), json_click(item=True), None, "wrong_type", "bool"),
        (EventFormat(format="json"), json_click(item=1.5), None, "wrong_type", "float"),
        (EventFormat(format="json"), json_click(time="1"), None, "wrong_type", "'1'"),
        (EventFormat(format="json"), json_click(time=None), None, "bad_time", "missing"),
        (EventFormat(format="json"), json_click(time=float("nan")), None, "wrong_type", "nan"),
        (EventFormat(format="json"), json_click(time=float("inf")), None, "future_time", "10^19"),
        (EventFormat(format="json"), json_click(user="\ud800"), None, "bad_text", "Unicode"),
        (
            EventFormat(format="json", time_unit="iso8601"),
            json_click(time="soon"),
            None,
            "bad_time",
            "'soon'",
        ),
        (
            EventFormat(format="json", time_unit="iso8601"),
            json_click(time=5),
            None,
            "wrong_type",
            "ISO 8601",
        ),
    ],
)
def test_each_fault_has_its_reason_and_says_the_value(
    event_format: EventFormat, value: bytes | None, record_key: bytes | None, reason: str, said: str
) -> None:
    """A bad record's reason can be counted, and its message names what was found."""
    with pytest.raises(BadRecord) as caught:
        decoder(event_format).decode(value, record_key)
    assert caught.value.reason == reason
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "time", "time_ms"),
    [
        ("ms", 1_600_000_000_123, 1_600_000_000_123),
        ("ms", 1_600_000_000_123.0, 1_600_000_000_123),
        ("s", 1_600_000_000, 1_600_000_000_000),
        ("s", 1_600_000_000.123, 1_600_000_000_123),
        ("iso8601", "2020-09-13T12:26:40.123Z", 1_600_000_000_123),
        ("iso8601", "2020-09-13T14:26:40.123+02:00", 1_600_000_000_123),
        ("iso8601", "2020-09-13T12:26:40", 1_600_000_000_000),
    ],
)
def test_json_times_in_every_unit(unit: Any, time: Any, time_ms: int) -> None:
    """Seconds, milliseconds and ISO 8601 with or without a zone give milliseconds since 1970."""
    assert (
        decoder(EventFormat(format="json", time_unit=unit)).decode(json_click(time=time)).time_ms
        == time_ms
    )


def test_json_fields_are_found_by_dotted_paths() -> None:
    """A platform's own field names work; integer ids become text; no action means a click."""
    value = json.dumps({"uid": 42, "product": {"id": "p-1", "price": 3}, "ts": 5}).encode()
    event_format = EventFormat(
        format="json", fields=FieldPaths(user="uid", item="product.id", time="ts")
    )
    assert decoder(event_format).decode(value, b"42") == Click("42", "p-1", "click", 5)


def test_an_empty_action_is_a_click_in_protobuf() -> None:
    """The protocol's documented default."""
    assert decoder(PROTOBUF).decode(encode(Click("u", "i", "", 1), PROTOBUF)).action == "click"


@pytest.mark.parametrize("event_format", FORMATS, ids=lambda f: f"{f.format}-{f.time_unit}")
@pytest.mark.parametrize("count", [1, 60])
def test_actions_are_mapped_and_others_refused(event_format: EventFormat, count: int) -> None:
    """A record's own names become the models', once;
    an action that is not listed is a dead letter, on either way.
    """
    form = replace(
        event_format,
        action_map={"order_placed": "buy", "buy": "view"},
        actions=frozenset({"buy", "view"}),
    )
    names = {
        "order_placed": "buy",
        "buy": "view",
        "view": "view",
        "": None,
        "click": None,
        "order_refunded": None,
    }
    for name, known in names.items():
        value = encode(Click("u", "i", name, 1), form)
        batch, dead = decoder(form).decode_batch(
            0, 0, count, [Record(n, value) for n in range(count)]
        )
        if known:
            assert not dead
            assert set(batch.actions.tolist()) == {key(known)}
            assert decoder(form).decode(value).action == known
        else:
            assert len(dead) == count
            assert dead[0].reason == "unknown_action"
            assert repr(name or "click") in dead[0].message


@pytest.mark.parametrize(
    ("action_map", "actions", "said"),
    [
        ({"order_placed": "buy"}, {"view"}, "maps to 'buy'"),
        ({"": "buy"}, set(), "are empty"),
        ({"order_placed": ""}, set(), "are empty"),
        ({}, {"view", ""}, "are empty"),
    ],
)
def test_actions_that_cannot_be_meant_are_refused(
    action_map: dict[str, str], actions: set[str], said: str
) -> None:
    """A map to what is not taken, and names without a letter, are configuration errors."""
    with pytest.raises(ConfigError, match=said):
        replace(PROTOBUF, action_map=action_map, actions=frozenset(actions))


@pytest.mark.parametrize(
    "paths",
    [
        FieldPaths(user="item"),
        FieldPaths(item="user.id"),
        FieldPaths(time=""),
        FieldPaths(action="a..b"),
    ],
)
def test_fields_that_cannot_be_told_apart_are_refused(paths: FieldPaths) -> None:
    """Two fields at one place, one inside another, or an empty name are configuration errors."""
    with pytest.raises(ConfigError, match=r"events\.fields"):
        EventFormat(format="json", fields=paths)


def test_a_limit_of_nothing_is_refused() -> None:
    """A limit that no record can meet is a configuration error,
    not an endless stream of dead letters.
    """
    with pytest.raises(ConfigError, match="record_bytes_max is 0"):
        replace(PROTOBUF, record_bytes_max=0)


@pytest.mark.parametrize("later_s", [-(10**7), 0, 3_600, 10**7])
def test_a_click_too_far_ahead_is_so_whenever_it_is_read(later_s: int) -> None:
    """The record's time decides, not the reader's: a replay days later drops the same clicks."""
    tolerance_ms = int(PROTOBUF.future_tolerance_s * 1000)
    reader = Decoder(PROTOBUF, ManualClock(NOW_MS + 1000 * later_s))
    for ahead_ms, clicks_of_it in ((tolerance_ms, 1), (tolerance_ms + 1, 0)):
        value = encode(Click("u", "i", "click", NOW_MS - 5 + ahead_ms), PROTOBUF)
        batch, dead = reader.decode_batch(0, 0, 1, [Record(0, value)])
        assert (len(batch), len(dead)) == (clicks_of_it, 1 - clicks_of_it)
        if clicks_of_it:
            reader.decode(value, record_ms=NOW_MS - 5)
        else:
            with pytest.raises(BadRecord, match="the record's time"):
                reader.decode(value, record_ms=NOW_MS - 5)


def test_another_unit_is_recognised_whatever_the_record_says() -> None:
    """A producer that takes microseconds for milliseconds may set both
    times; no click is from after 2100.
    """
    value = encode(Click("u", "i", "click", NOW_MS * 1000), PROTOBUF)
    for record_ms in (NOW_MS * 1000, -1):
        _, [letter] = decoder(PROTOBUF).decode_batch(
            0, 0, 1, [Record(0, value, timestamp=record_ms)]
        )
        assert letter.reason == "future_time"


def test_a_poll_becomes_columns_and_dead_letters() -> None:
    """Good records keep order and offsets, bad ones keep key, value,
    place and reason; the range is the reader's.
    """
    good = encode(Click("u", "i", "buy", 7), PROTOBUF)
    batch, dead = decoder(PROTOBUF).decode_batch(
        3,
        10,
        20,
        [Record(11, good, b"u"), Record(12, b"\xff", b"k"), Record(15, good, timestamp=-1)],
    )
    assert (batch.partition, batch.start, batch.stop) == (3, 10, 20)
    assert batch.offsets.tolist() == [11, 15]
    assert batch.users.tolist() == [key("u")] * 2
    assert batch.items.tolist() == [key("i")] * 2
    assert batch.actions.tolist() == [key("buy")] * 2
    assert batch.times_ms.tolist() == [7, 7]
    assert batch.record_ms.tolist() == [NOW_MS - 5, NOW_MS]
    [letter] = dead
    assert (letter.partition, letter.offset, letter.key, letter.value) == (3, 12, b"k", b"\xff")
    assert letter.reason == "undecodable"


def test_a_poll_without_records_is_an_empty_batch() -> None:
    """A range of markers only still moves the position."""
    batch, dead = decoder(PROTOBUF).decode_batch(0, 5, 9, [])
    assert (len(batch), batch.start, batch.stop, dead) == (0, 5, 9, [])
    assert batch.users.dtype == "uint64"
    assert batch.times_ms.dtype == "int64"
