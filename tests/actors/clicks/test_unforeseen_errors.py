"""Errors of the decoder itself: one record becomes a dead letter, and its neighbours pass."""

from __future__ import annotations

from typing import Any

import pytest

from actors.clicks.click import Click
from actors.clicks.formats import encode
from actors.errors import BadRecord
from tests.actors.clicks.click_records import PROTOBUF, Record, decoder
from tests.actors.clicks.hostile_values import MESSAGE_MAX


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
