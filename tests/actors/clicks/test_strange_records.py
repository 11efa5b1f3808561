"""Whatever a record holds, it is a click or a dead letter:
the same on either way and on any stack, never an error.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
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
from actors.clicks import codec, excerpt, json_text
from actors.clicks.click import Click
from actors.clicks.formats import EventFormat, encode
from actors.clicks.json_text import NESTING_MAX
from actors.clock import ManualClock
from actors.errors import BadRecord
from actors.ingest.log_reader import LogReader
from monitoring.metrics import Metrics
from tests.actors.clicks.test_click_columns import ODD_JSON, ODD_PROTOBUF, check
from tests.actors.clicks.test_codec import (
    FORMATS,
    NOW_MS,
    PROTOBUF,
    Record,
    clicks,
    decoder,
    json_click,
    outcome,
)
from tests.actors.ingest.ingest_fakes import FakeLog, FakeRecord

JSON = EventFormat(format="json")
UNITS: tuple[Any, ...] = ("ms", "s", "iso8601")
FIELDS = ("user", "item", "action", "time")
MESSAGE_MAX = 500


def put(field: str, text: str) -> bytes:
    """A valid click but for one field, which is this JSON."""
    return json_click(**{field: "HERE"}).replace(b'"HERE"', text.encode("utf-8", "surrogatepass"))


def nested(depth: int, *, inner: str = "1", kind: str = '{"a":', end: str = "}") -> str:
    """So many objects in each other."""
    return kind * depth + inner + end * depth


def judged(
    event_format: EventFormat, value: bytes, key: bytes | None = None
) -> Click | tuple[str, str]:
    """The click, or reason and message."""
    try:
        return decoder(event_format).decode(value, key, NOW_MS)
    except BadRecord as error:
        return error.reason, str(error)


HOSTILE = [
    *(
        sign + "9" * digits
        for sign in ("", "-")
        for digits in (19, 20, 309, 640, 641, 4_299, 4_300, 4_301, 9_000)
    ),
    *(
        "1e400",
        "-1e400",
        "1e308",
        "1e-400",
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "-0.0",
        "true",
        "null",
        "1.5",
    ),
    *(
        '"\\ud800"',
        '"\\u0000"',
        '"\\n"',
        '"\\"',
        '"a\\nb"',
        "[]",
        "{}",
        '""',
        '"' + "x" * 5_000 + '"',
    ),
    *(nested(depth) for depth in (98, 99, 100, 101, 880, 979, 980, 985, 999, 1_023, 1_024, 5_000)),
    *(nested(depth, kind="[", end="]") for depth in (98, 99, 100, 101, 980, 60_000)),
    nested(50, inner=json.dumps("[" * 400)),
]
ODD_TIMES = [
    *(
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "10000-01-01T00:00:00Z",
    ),
    *(
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00-24:00",
        "2026-01-31T12:00:00+23:59:59.999999",
    ),
    *(
        "2026-01-31T12:00:00." + "1" * 50 + "Z",
        "2026-W05-6T12:00:00Z",
        "2026-W54-1",
        "2026-02-30",
        "20260131",
        "2026",
    ),
    *(
        "2026-01-31T24:00:00Z",
        "9999-12-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31\ud80012:00",
        "٢٠٢٦-01-31",
    ),
    *(
        "",
        " ",
        "T",
        "-2026-01-31",
        "2026-01-31T12:00:00Z" + "0" * 4_300,
        "\0",
        "2026-01-31T12:00:00\n",
    ),
]


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


def at_depth(frames: int, call: Callable[[], Any]) -> Any:
    """Make the call below so many further frames."""
    return at_depth(frames - 1, call) if frames else call()


def free_frames() -> int:
    """Frames that still fit on this stack."""
    try:
        return 1 + free_frames()
    except RecursionError:
        return 0


@pytest.mark.parametrize("kind", ["{", "["])
@pytest.mark.parametrize("field", ["user", "extra"])
def test_nesting_is_judged_alike_on_any_stack(kind: str, field: str) -> None:
    """One limit for owner, standby, archive and replay:
    how deep the caller's own stack is makes no difference.
    """
    start, end = ('{"a":', "}") if kind == "{" else ("[", "]")
    deepest = free_frames() - 60  # leaves the parser too little for the limit
    for depth in (
        1,
        50,
        NESTING_MAX - 2,
        NESTING_MAX - 1,
        NESTING_MAX,
        NESTING_MAX + 1,
        880,
        979,
        985,
    ):
        record = Record(0, put(field, nested(depth, kind=start, end=end)))
        shallow = judged(JSON, record.value)
        assert isinstance(shallow, Click) == (
            field == "extra" and depth < NESTING_MAX
        )  # the object itself counts
        for frames in (100, deepest // 2, deepest):
            assert at_depth(frames, lambda record=record: judged(JSON, record.value)) == shallow
            for many in (1, codec.TOGETHER_MIN):
                batch, dead = at_depth(
                    frames, lambda r=record, n=many: decoder(JSON).decode_batch(0, 0, n, [r] * n)
                )
                assert (len(batch), len(dead)) == (
                    (many, 0) if isinstance(shallow, Click) else (0, many)
                )
                assert all((letter.reason, letter.message) == shallow for letter in dead)


@pytest.mark.parametrize(
    ("value", "is_deep"),
    [
        (b"[" * 100 + b"]" * 100, False),
        (b"[" * 101 + b"]" * 101, True),
        (b"[" * 101, True),
        (b"[]" * 5_000, False),
        (b'{"a":[{}]}' * 5_000, False),
        (b'"' + b"[" * 5_000 + b'"', False),
        (b'"' + b"[" * 5_000, False),  # a string without an end
        (b'"\\"' + b"[" * 5_000 + b'"', False),
        (b'"\\\\"' + b"[" * 101, True),
        (b'"\\""' * 15_000 + b"[" * 100, False),
        (b'"\\""' * 15_000 + b"[" * 101, True),
        (b'["["' * 50 + b'"]",[]]' * 50, False),
        (b'["]"' * 101, True),
        (b'"\n"' + b"{" * 101, True),
    ],
    ids=itertools.count(),
)
def test_nesting_counts_brackets_outside_of_strings(value: bytes, is_deep: bool) -> None:
    """Brackets within strings are text, an escaped quote ends none,
    and arrays side by side are not in each other.
    """
    assert json_text.is_nested_too_deep(value) == is_deep


def test_what_nobody_foresaw_becomes_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in reading one record: a dead letter and a log line say so
    with its place; its neighbours pass.
    """
    for error in (
        RuntimeError("odd"),
        RecursionError("deep"),
        ValueError("x" * 9_000),
        KeyError("\ud800"),
        OSError(),
    ):

        def parse(value: bytes, error: Exception = error) -> Click:
            if value == b"strange":
                raise error
            return Click("u", "i", "click", 1)

        strange = decoder(PROTOBUF)
        monkeypatch.setattr(strange, "_parse", parse)
        records = [Record(n + 40, b"strange" if n == 3 else b"usual") for n in range(60)]
        for part in (records[:10], records):
            caplog.clear()
            batch, [letter] = strange.decode_batch(7, 40, 100, part)
            assert (letter.partition, letter.offset, letter.reason) == (7, 43, "unforeseen")
            assert type(error).__name__ in letter.message
            assert len(letter.message) < MESSAGE_MAX
            assert len(batch) == len(part) - 1
            assert "partition 7, offset 43" in caplog.text
        with pytest.raises(BadRecord, match=type(error).__name__):
            strange.decode_record(7, records[3])


def test_records_that_cannot_be_read_together_are_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the fast path costs speed, and nothing else."""

    def columns(values: Any) -> Any:
        raise RuntimeError("odd")

    broken = decoder(PROTOBUF)
    records = [Record(n, encode(Click(f"u{n}", "i", "click", 1), PROTOBUF)) for n in range(60)]
    expected, _ = broken.decode_batch(0, 0, 60, records)
    monkeypatch.setattr(broken, "_columns", columns)
    batch, dead = broken.decode_batch(0, 0, 60, records)
    assert not dead
    assert batch.users.tolist() == expected.users.tolist()
    assert "one by one" in caplog.text


def test_memory_that_is_short_is_no_records_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A click must not become a dead letter because its reader had no
    memory: others will have folded it.
    """

    def parse(value: bytes) -> Click:
        raise MemoryError

    short = decoder(PROTOBUF)
    monkeypatch.setattr(short, "_parse", parse)
    with pytest.raises(MemoryError):
        short.decode_batch(0, 0, 1, [Record(0, b"usual")])


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
