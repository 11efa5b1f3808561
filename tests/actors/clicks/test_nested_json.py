"""JSON in JSON: how deep it may be does not depend on the stack of who reads it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from actors.clicks import codec, json_text
from actors.clicks.click import Click
from actors.clicks.json_text import NESTING_MAX
from tests.actors.clicks.click_records import JSON, Record, decoder
from tests.actors.clicks.hostile_values import judged, nested, put


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
