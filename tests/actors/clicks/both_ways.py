"""Reading records together and one by one, compared."""

from __future__ import annotations

from collections.abc import Sequence

from actors.clicks import codec
from actors.clicks.click import key
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, encode
from actors.clock import ManualClock
from actors.errors import BadRecord
from tests.actors.clicks.click_records import NOW_MS, Record
from tests.actors.clicks.odd_records import USUAL


def check(event_format: EventFormat, records: Sequence[Record]) -> None:
    """Compare with the same records read one by one, after enough others to be read together."""
    first = max((record.offset for record in records), default=0) + 1
    filling = [Record(first + n, encode(USUAL, event_format)) for n in range(codec.TOGETHER_MIN)]
    decoder = Decoder(event_format, ManualClock(NOW_MS))
    batch, dead = decoder.decode_batch(0, 0, first, [*records, *filling])
    expected = []
    reasons = []
    for record in [*records, *filling]:
        try:
            click = decoder.decode(record.value, record.key, record.timestamp)
        except BadRecord as error:
            reasons.append((record.offset, record.key, record.value, error.reason, str(error)))
            continue
        record_ms = record.timestamp if record.timestamp > 0 else NOW_MS
        ids = key(click.user), key(click.item), key(click.action)
        expected.append((record.offset, *ids, click.time_ms, record_ms))
    columns = (
        batch.offsets,
        batch.users,
        batch.items,
        batch.actions,
        batch.times_ms,
        batch.record_ms,
    )
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert [
        (letter.offset, letter.key, letter.value, letter.reason, letter.message) for letter in dead
    ] == reasons
