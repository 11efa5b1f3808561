"""JSON of strangers, read alike by whoever reads it.

The standard library gives up on nesting by the depth of its caller's stack and on long integers by
a setting of the process. Owner, standby, archive and replay stand on different stacks, and all must
judge a record alike: so nesting has a limit of its own, counted in the bytes before anything is
parsed, and long integers stay text.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

# objects and arrays within each other; a tenth of what an empty stack lets the parser read
NESTING_MAX = 100

_BESIDE = bytes(set(range(256)) - set(b'[]{}"'))  # neither bracket nor quote
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


class Integer(str):
    """A JSON integer, as its decimal text: of any length, and no setting of Python's limits it."""

    __slots__ = ()


def _integer(digits: str) -> Integer:
    return Integer("0" if digits == "-0" else digits)


_parse_long = json.JSONDecoder(parse_int=_integer).decode
_parse = json.JSONDecoder().decode


def may_be_nested_too_deep(value: bytes) -> bool:
    """Whether it has brackets enough, wherever they stand."""
    return len(value) > NESTING_MAX and value.count(b"[") + value.count(b"{") > NESTING_MAX


def is_nested_too_deep(value: bytes) -> bool:
    """Whether more than NESTING_MAX objects and arrays stand within each other,
    by the brackets outside of strings.
    """
    if not may_be_nested_too_deep(value):
        return False
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    # most strings have no bracket and are gone by now
    marks = value.translate(None, _BESIDE).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    if len(brackets) <= NESTING_MAX:
        return False
    return bool(
        np.add.accumulate(_STEPS[np.frombuffer(brackets, np.uint8)], dtype=np.int32).max()
        > NESTING_MAX
    )


def parse(value: bytes) -> Any:
    """What a value holds; its integers are `Integer` where one of them is longer than Python takes.

    Raises:
        ValueError: it is no JSON in UTF-8, or nested too deep.
    """
    text = value.decode()
    if is_nested_too_deep(value):
        raise ValueError(f"objects or arrays are nested more than {NESTING_MAX} deep")
    try:
        return _parse(text)
    except ValueError:  # perhaps an integer longer than Python takes
        return _parse_long(text)
