"""JSON values that somebody may send to do harm, or by mistake."""

from __future__ import annotations

import json

from actors.clicks.click import Click
from actors.clicks.formats import EventFormat
from actors.errors import BadRecord
from tests.actors.clicks.click_records import NOW_MS, decoder, json_click

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
