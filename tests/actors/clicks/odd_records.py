"""Values that a fast way of reading may judge otherwise than a slow one."""

from __future__ import annotations

import json
from typing import Any

from actors.clicks.click import Click
from actors.clicks.formats import CEILING_MS
from rpc import events_pb2
from tests.actors.clicks.click_records import NOW_MS, json_click

LIMITS = {"record_bytes_max": 5_000, "id_bytes_max": 200}
USUAL = Click("user-1", "item-1", "view", NOW_MS - 7)


def wire(*parts: tuple[int, bytes]) -> bytes:
    """Length-delimited fields of ASCII, by their tags."""
    return b"".join(bytes([tag, len(content)]) + content for tag, content in parts)


def protobuf(**fields: Any) -> bytes:
    """A valid click but for `fields`."""
    return events_pb2.Click(
        **{"user": "u", "item": "i", "time_ms": 5, "action": "a"} | fields
    ).SerializeToString()


IDS = wire((0x0A, b"u"), (0x12, b"i"))
TIMED = IDS + b"\x18\x05"
ODD_PROTOBUF = [
    *(None, b"", b"\x0a", b"\x0a\x05u", b"\xff", IDS, TIMED, b"x" * 5_001, b'{"user": "u"}'),
    *(
        protobuf(user=""),
        protobuf(item=""),
        protobuf(action=""),
        protobuf(time_ms=0),
        protobuf(time_ms=-1),
    ),
    *(
        protobuf(time_ms=number)
        for number in (127, 128, CEILING_MS, CEILING_MS + 1, 2**42, 2**43, 2**63 - 1)
    ),
    *(
        protobuf(**{name: "x" * size})
        for name in ("user", "item", "action")
        for size in (127, 128, 200, 201, 4_900)
    ),
    *(
        protobuf(**{name: "ü" * size})
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
    wire((0x12, b"i"), (0x0A, b"u")) + b"\x18\x05",
    IDS + b"\x18\x85\x00",  # more bytes than the number needs
    IDS + b"\x18\x85\x80\x80\x80\x80\x00",
    IDS + b"\x18\x85\x80\x80\x80\x80\x80\x00",
    IDS + b"\x18\x81\x80\x80\x80\x80\x80\x22\x22\x01a",  # a number's seventh byte looks like a tag
    IDS + b"\x18\x81\x80\x80\x80\x80\x80\x22\x01a",
    IDS + b"\x18\x81",  # a number without its end
    b"\x0a\x81\x00u" + b"\x12\x01i\x18\x05",
    b"\x0a\x81\x80\x00u" + b"\x12\x01i\x18\x05",
    b"\x8a\x00\x01u\x12\x01i\x18\x05",  # a tag of two bytes
    wire((0x0A, b"\xff"), (0x12, b"i")) + b"\x18\x05",
    wire((0x0A, b"u\xc3"), (0x12, b"\xbci")) + b"\x18\x05",  # one letter over two fields
    wire((0x0A, b"\xed\xa0\x80"), (0x12, b"i")) + b"\x18\x05",  # a surrogate
    wire((0x0A, b"\xc0\x80"), (0x12, b"i")) + b"\x18\x05",  # more bytes than the letter needs
    wire((0x0A, b"u\n"), (0x12, b"\0")) + b"\x18\x05\x22\x01\xe4",
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
