"""Whatever a record holds, it is a click or a dead letter:
the same on either way, never an error.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive, RollSettings
from actors.clicks import excerpt, json_text
from actors.clicks.click import Click
from actors.clicks.formats import EventFormat, encode
from actors.clock import ManualClock
from actors.ingest.log_reader import LogReader
from monitoring.metrics import Metrics
from tests.actors.clicks.both_ways import check
from tests.actors.clicks.click_records import (
    FORMATS,
    JSON,
    NOW_MS,
    PROTOBUF,
    Record,
    clicks,
    decoder,
    json_click,
    outcome,
)
from tests.actors.clicks.hostile_values import FIELDS, HOSTILE, MESSAGE_MAX, ODD_TIMES, judged, put
from tests.actors.clicks.odd_records import ODD_JSON, ODD_PROTOBUF
from tests.actors.ingest.ingest_fakes import FakeLog, FakeRecord

UNITS: tuple[Any, ...] = ("ms", "s", "iso8601")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_value_is_a_click_or_a_dead_letter(field: str, unit: Any) -> None:
    """Numbers of thousands of digits, objects as deep as they get, odd texts,
    in any field: a reason, a short line.
    """
    event_format = replace(JSON, time_unit=unit)
    for text in HOSTILE:
        value = put(field, text)
        found = judged(event_format, value)
        if not isinstance(found, Click):
            assert found[0] != "unforeseen", found[1]
            assert len(found[1]) < MESSAGE_MAX
            assert found[1].isprintable()
        check(event_format, [Record(0, value)])


@pytest.mark.parametrize("unit", ["ms", "s"])
@pytest.mark.parametrize(("sign", "reason"), [("", "future_time"), ("-", "bad_time")])
@pytest.mark.parametrize("digits", [20, 640, 4_300, 60_000])
def test_a_time_of_thousands_of_digits_is_out_of_range(
    unit: Any, sign: str, reason: str, digits: int
) -> None:
    """It is a time, if one that never comes, and the message does not print it."""
    found = judged(replace(JSON, time_unit=unit), put("time", sign + "9" * digits))
    assert found[0] == reason
    assert "99999999999999999999" not in found[1]


def test_whole_numbers_are_ids_whatever_their_length() -> None:
    """An integer id is its decimal text, and no setting of Python's says how long it may be."""
    wide = replace(JSON, id_bytes_max=10_000)
    for number in ("0", "-0", "-7", "9" * 19, "1" + "0" * 30, "9" * 5_000):
        assert judged(wide, put("user", number))[0] == number.replace("-0", "0")
    assert judged(JSON, put("user", "9" * 5_000))[0] == "id_too_long"


def test_integers_are_read_alike_whatever_the_process_allows() -> None:
    """PYTHONINTMAXSTRDIGITS changes nothing."""
    before = sys.get_int_max_str_digits()
    values = [put(field, "9" * 700) for field in (*FIELDS, "extra")]
    try:
        found = []
        for limit in (640, 0, before):
            sys.set_int_max_str_digits(limit)
            found.append([judged(JSON, value) for value in values])
    finally:
        sys.set_int_max_str_digits(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("text", ODD_TIMES)
def test_odd_iso_times_are_clicks_or_dead_letters(text: str) -> None:
    """Years that no calendar has, offsets of a day,
    fifty digits of a second, weeks, other digits.
    """
    event_format = replace(JSON, time_unit="iso8601")
    value = json_click(time=text)
    found = judged(event_format, value)
    assert isinstance(found, Click) or found[0] in {"bad_time", "future_time"}
    check(event_format, [Record(0, value)])


scalars = (
    st.sampled_from(HOSTILE)
    | st.sampled_from([json.dumps(text) for text in ODD_TIMES])
    | st.text(max_size=9)
)
json_values = (
    st.tuples(st.sampled_from((*FIELDS, "extra")), scalars).map(lambda drawn: put(*drawn))
    | st.sampled_from([value for value in ODD_JSON if value])
    | st.binary(max_size=60)
)
protobuf_values = (
    clicks.map(lambda click: encode(click, PROTOBUF))
    | st.sampled_from([value for value in ODD_PROTOBUF if value])
    | st.binary(max_size=60)
)
damages = st.tuples(
    st.integers(0, 200),
    st.sampled_from(["cut", "byte", "bit", "double", "none"]),
    st.integers(0, 255),
)


def damaged(value: bytes, damage: tuple[int, str, int]) -> bytes:
    """The value with one thing changed."""
    at = damage[0] % max(1, len(value))
    how = damage[1]
    byte = damage[2]
    changed = {
        "cut": value[:at],
        "byte": value[:at] + bytes([byte]) + value[at + 1 :],
        "bit": value[:at]
        + bytes(one ^ (1 << byte % 8) for one in value[at : at + 1])
        + value[at + 1 :],
        "double": value[:at] + value,
    }
    return changed.get(how, value)


keys = (
    st.none()
    | st.binary(max_size=8)
    | st.sampled_from([b"", b"u", b"\xff\xfe", b"u\0", "ü".encode(), b"x" * 999])
)
stamps = st.sampled_from([NOW_MS, 1, 0, -1, 2**63 - 1, -(2**63)])


@pytest.mark.parametrize(
    "event_format", [JSON, *FORMATS], ids=lambda f: f"{f.format}-{f.fields.user}-{f.time_unit}"
)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_both_ways_agree_on_anything(event_format: EventFormat, data: st.DataObject) -> None:
    """Valid values, hostile ones and any bytes, changed in a place,
    with any key and time: one outcome, foreseen.
    """
    values = protobuf_values if event_format.format == "protobuf" else json_values
    drawn = data.draw(st.lists(st.tuples(values, damages, keys, stamps), min_size=1, max_size=8))
    records = [
        Record(n, damaged(value, how), key, stamp)
        for n, (value, how, key, stamp) in enumerate(drawn)
    ]
    check(event_format, records)
    for record in records:
        assert outcome(event_format, record.value, record.key) != "unforeseen"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists
    )
)
@example("\ud800\0\n\u202e")
@example("9" * 10_000)
@example(10**10_000)
@example(json_text.Integer("9" * 10_000))
@example(b"\xff" * 10_000)
@settings(deadline=None)
def test_an_excerpt_is_one_short_line(value: Any) -> None:
    """Whatever the value, a message that shows it stays readable."""
    shown = excerpt.excerpt(value)
    assert shown.isprintable()
    assert len(shown) < 450  # 40 bytes or characters, each escaped


def test_archive_replay_and_ingest_take_the_same_of_a_hostile_log(tmp_path: Path) -> None:
    """Records of which each once stopped ingest or the archive,
    or was judged otherwise by a replay.
    """
    values = [put(field, text) for text in HOSTILE for field in (*FIELDS, "extra")]
    records = [FakeRecord(offset, value, None) for offset, value in enumerate(values)]
    clock = ManualClock(NOW_MS)
    count = len(records)
    batch, dead = decoder(JSON).decode_batch(0, 0, count, records)
    assert len(batch) + len(dead) == count
    files = ArchiveFiles.from_uri(str(tmp_path))
    log = FakeLog({0: records}, records_per_poll=100)
    metrics = Metrics(CollectorRegistry())
    archive = Archive(log, decoder(JSON), files, [0], metrics, clock, RollSettings())
    for _ in range(count // 100 + 2):
        archive.run_once()
    archive.flush()
    replayed = LogReader(FakeLog({0: records}, records_per_poll=7), decoder(JSON), clock).read(
        0, 0, count
    )
    archived = ArchiveReader(files).read(0, 0, count)
    for history in (replayed, archived):
        assert [
            offset for part in history for offset in part.offsets.tolist()
        ] == batch.offsets.tolist()
