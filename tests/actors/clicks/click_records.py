"""Records with a click in each format, and what a decoder makes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from actors.clicks.click import Click
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, FieldPaths
from actors.clock import ManualClock
from actors.errors import BadRecord

NOW_MS = 1_700_000_000_000
PROTOBUF = EventFormat()
JSON = EventFormat(format="json")
PATHS = FieldPaths(user="uid", item="product.id", time="ts", action="product.kind")
FORMATS = [
    PROTOBUF,
    *(EventFormat(format="json", fields=PATHS, time_unit=unit) for unit in ("ms", "s", "iso8601")),
]


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
clicks = st.builds(Click, ids, ids, ids, st.integers(1, NOW_MS))


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp: int = NOW_MS - 5


def decoder(event_format: EventFormat) -> Decoder:
    """A decoder at NOW_MS."""
    return Decoder(event_format, ManualClock(NOW_MS))


def outcome(
    event_format: EventFormat, value: bytes, record_key: bytes | None = None
) -> Click | str:
    """The click, or the reason why there is none."""
    try:
        return decoder(event_format).decode(value, record_key)
    except BadRecord as error:
        return error.reason


def json_click(**changes: Any) -> bytes:
    """A valid JSON click but for `changes`."""
    return json.dumps({"user": "u", "item": "i", "time": 1, "action": "view"} | changes).encode()
