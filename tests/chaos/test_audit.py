"""The reckoning finds what it is there to find."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.chaos.audit import Verdict, differences_of_archive, judge
from tests.chaos.clicks import FIRST_MS, Ledger, Place

LOG = {Place(0, 0): 0, Place(0, 1): 1, Place(1, 0): 2}
CLICKS = {7: 2, 8: 1}
DIGESTS = {(0, "main"): "aa", (1, "main"): "bb"}
SOUND = {
    "acknowledged": LOG,
    "in_log": LOG,
    "clicks_by_user": CLICKS,
    "events_by_user": CLICKS,
    "expected": DIGESTS,
    "found": DIGESTS,
}


def verdict(**changed: object) -> Verdict:
    """The verdict on a sound system with something changed."""
    return judge(**{**SOUND, **changed})


def test_a_sound_system_is_sound() -> None:
    """Equal ledgers, counts and digests give no difference, and users without clicks count none."""
    assert verdict(events_by_user={**CLICKS, 9: 0}) == Verdict(3, 0, 0, True, ())
    assert verdict().sound


@pytest.mark.parametrize(
    ("changed", "lost", "doubled", "byte_equal"),
    [
        ({"in_log": {Place(0, 0): 0, Place(0, 1): 1}}, 1, 0, True),
        ({"in_log": {**LOG, Place(0, 1): 5}}, 1, 0, True),
        ({"in_log": {**LOG, Place(1, 1): 2}}, 0, 1, True),
        ({"events_by_user": {7: 1, 8: 1}}, 1, 0, True),
        ({"events_by_user": {7: 2}}, 1, 0, True),
        ({"events_by_user": {7: 4, 8: 1}}, 0, 2, True),
        ({"found": {**DIGESTS, (1, "main"): "cc"}}, 0, 0, False),
        ({"found": {(0, "main"): "aa"}}, 0, 0, False),
    ],
    ids=["gone", "another", "twice", "missed", "nobody", "counted twice", "bytes", "partition"],
)
def test_each_difference_is_found(
    changed: dict[str, object], lost: int, doubled: int, byte_equal: bool
) -> None:
    """A click that is missing, another or too many, anywhere, is counted on its side and named."""
    found = verdict(**changed)
    assert (found.lost, found.doubled, found.byte_equal) == (lost, doubled, byte_equal)
    assert not found.sound
    assert found.differences


def test_an_archive_is_compared_row_by_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A missing and a repeated row are both named, a complete archive gives nothing."""
    rows = [(place.partition, place.offset, FIRST_MS + number) for place, number in LOG.items()]

    def differences(written: list[tuple[int, int, int]]) -> list[str]:
        path = tmp_path_factory.mktemp("archive")
        partitions, offsets, times_ms = map(list, zip(*written, strict=True))
        table = pa.table({"partition": partitions, "offset": offsets, "time_ms": times_ms})
        parquet.write_to_dataset(table, path, partition_cols=["partition"])
        return list(differences_of_archive(str(path), LOG))

    assert differences(rows) == []
    assert differences(rows[1:]) == ["the archive lacks click 0 at Place(partition=0, offset=0)"]
    assert differences([*rows, rows[2]]) == [
        "the archive has click 2 at Place(partition=1, offset=0) once too often"
    ]


def test_the_ledger_knows_what_was_acknowledged_and_what_is_fresh() -> None:
    """Places come from acknowledgements alone;
    only clicks sent after a moment count as fresh since then.
    """
    ledger = Ledger()
    for number in range(3):
        ledger.sent(number)
    assert not ledger.all_answered(0)
    ledger.acknowledged(0, SimpleNamespace(partition=0, offset=4))
    ledger.acknowledged(1, SimpleNamespace(partition=1, offset=9))
    ledger.failed(2, TimeoutError())
    assert ledger.all_answered(0)
    assert (ledger.places(), list(ledger.refused)) == ({Place(0, 4): 0, Place(1, 9): 1}, [2])
    assert ledger.fresh_since(0.0, 2, 0) == {0: 5, 1: 10}
    with pytest.raises(TimeoutError, match=r"no click was acknowledged in partitions \[0, 1\]"):
        ledger.fresh_since(float("inf"), 2, 0)
