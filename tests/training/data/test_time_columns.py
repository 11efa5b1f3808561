"""Times of files: as serving reads them, within its bounds;
and what seems to be in another unit.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clicks import formats
from actors.clicks.formats import EventFormat, JsonParser
from tests.training.logs import read_noted
from training.data import columns, time_column
from training.data.time_column import TimeUnit
from training.errors import DatasetError

NOW = 1_764_300_000_123
ISO = "2025-11-28T03:20:00.123Z"
PER_MS = {"s": 1e-3, "ms": 1, "us": 1_000, "ns": 1_000_000}


def of_times(values: Any, unit: TimeUnit = "ms", heard: list[str] | None = None) -> list[int]:
    """What is read from a column of times."""
    count = len(values)
    table = pa.table({"user": ["u"] * count, "item": ["i"] * count, "time": values})
    return read_noted(table, [] if heard is None else heard, unit).times_ms.tolist()


def test_the_bounds_are_those_of_serving() -> None:
    """One number, in two places that must not import each other."""
    assert time_column.CEILING_MS == formats.CEILING_MS
    assert of_times([1, formats.CEILING_MS]) == [1, formats.CEILING_MS]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_of_each_unit_and_zone_are_moments(unit: str, zone: str | None) -> None:
    """Without a zone they are UTC; --time-unit has no say in them."""
    whole = NOW // 1000 * 1000
    stamp = (
        pa.array([int(whole * PER_MS[unit])], pa.int64())
        .cast(pa.timestamp(unit))
        .cast(pa.timestamp(unit, zone))
    )
    assert of_times(stamp) == of_times(stamp, "iso8601") == [whole]


@pytest.mark.parametrize(
    ("values", "unit", "found"),
    [
        ([NOW * 1_000_000 + 999_999], "ns", NOW),
        ([NOW * 1_000 + 999], "us", NOW),
        ([1_764_300_000.1234], "s", NOW),
        ([float(NOW)], "ms", NOW),
        (pa.array([1_764_300_000], pa.uint32()), "s", 1_764_300_000_000),
        (pa.array([NOW], pa.uint64()), "ms", NOW),
        ([Decimal("1764300000.123")], "s", NOW),
        (["1764300000.123"], "s", NOW),
        ([" 1764300000123 "], "ms", NOW),
        (["1.764300000123E12"], "ms", NOW),
        ([str(NOW * 1_000_000 + 999_999)], "ns", NOW),
        (pa.array([str(NOW)]).dictionary_encode(), "ms", NOW),
        ([ISO], "iso8601", NOW),
        ([ISO], "ms", NOW),
        (["2025-11-28 04:20:00.123+01:00"], "iso8601", NOW),
        (["2025-11-28T03:20:00.123"], "iso8601", NOW),
        (["2025-11-28"], "iso8601", 1_764_288_000_000),
        (["20251128"], "iso8601", 1_764_288_000_000),
        (pa.array([20_420], pa.date32()), "ms", 1_764_288_000_000),
        (pa.array([1_764_288_000_000], pa.date64()), "ms", 1_764_288_000_000),
    ],
)
def test_numbers_texts_and_dates_are_moments(values: Any, unit: TimeUnit, found: int) -> None:
    """Ints, floats, decimals, texts of each unit;
    what is below a millisecond is dropped or rounded.
    """
    assert of_times(values, unit) == [found]


@given(
    moment=st.datetimes(timezones=st.none() | st.timezones()).filter(
        lambda at: 1971 < at.year < 2099
    ),
    separator=st.sampled_from(["T", " "]),
)
def test_texts_are_read_as_serving_reads_them(moment: Any, separator: str) -> None:
    """With a zone and without one."""
    text = moment.isoformat(separator)
    live = JsonParser(EventFormat(format="json", time_unit="iso8601"))
    assert of_times([text], "iso8601") == [
        live(json.dumps({"user": "u", "item": "i", "time": text}).encode()).time_ms
    ]


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        (
            [NOW, NOW * 1_000_000],
            "ms",
            r"log: row 2, column 'time': \d+ milliseconds is beyond the year 2100 \(1 of 2 ",
        ),
        ([NOW * 1_000_000], "s", "they look like nanoseconds: set --time-unit ns"),
        ([NOW * 1_000], "ms", "they look like microseconds: set --time-unit us"),
        ([NOW], "s", "they look like milliseconds: set --time-unit ms"),
        (
            [NOW // 1000],
            "ms",
            r"all 1 times, such as 1764300000, lie in 1970.*look like seconds: set --time-unit s$",
        ),
        ([NOW], "us", "look like milliseconds: set --time-unit ms"),
        ([NOW * 1000], "ns", "look like microseconds: set --time-unit us"),
        (
            [20_251_128],
            "ms",
            "they look like dates such as 20251128: write them as text and set --time-unit iso8601",
        ),
        (
            pa.array([NOW], pa.timestamp("ns")),
            "ms",
            "look like milliseconds: make the column anew from them",
        ),
        ([0], "ms", "0 milliseconds is not after 1970"),
        ([-5], "s", "-5 seconds is not after 1970"),
        ([0.4], "ms", "0.4 milliseconds is not after 1970"),
        ([2**63 - 1], "s", "beyond the year 2100"),
        (pa.array([2**64 - 1], pa.uint64()), "ns", "beyond the year 2100"),
        ([-(2**63)], "ns", "not after 1970"),
        ([1.5, float("inf")], "ms", r"row 2, column 'time': inf milliseconds is no time \(1 of 2"),
        ([float("nan")], "ms", "nan milliseconds is no time"),
        ([1e30], "ms", "beyond the year 2100"),
        (["1e400"], "ms", "inf milliseconds is no time"),
        (["9" * 40], "ms", "beyond the year 2100"),
        (["inf"], "ms", "'inf' is no number: times are not in the unit 'ms'"),
        ([str(NOW), "NaN"], "ms", "row 2, column 'time': 'NaN' is no number"),
        (["1_764_300_000_123"], "ms", "is no number"),
        (["0x19AC7"], "ms", "is no number"),
        ([str(NOW), ISO], "ms", "row 2.*is no number.*set --time-unit iso8601"),
        (
            [ISO, str(NOW)],
            "iso8601",
            r"row 2.*is no ISO 8601 time.*they look like milliseconds: set --time-unit ms",
        ),
        (["0001-01-01"], "iso8601", "not after 1970"),
        (["9999-12-31T23:59:59Z"], "iso8601", "beyond the year 2100"),
        (["soon"], "iso8601", "'soon' is no ISO 8601 time"),
        (
            [NOW],
            "iso8601",
            "holds int64: times are not in the unit 'iso8601'.*they look like milliseconds",
        ),
        (pa.array([1, None]), "ms", "row 2, column 'time': 1 rows have no time; remove them"),
        ([str(NOW), ""], "ms", "row 2, column 'time': 1 rows have no time"),
        (
            pa.array([2_000_000_000_000], pa.timestamp("s")),
            "ms",
            "seconds since 1970, is beyond the year 2100",
        ),
        ([True], "ms", "column 'time' holds bool, which is no time"),
        (pa.array([3], pa.time32("s")), "ms", r"holds time32\[s\], which is no time"),
        (pa.array([[1]]), "ms", "holds list<"),
    ],
)
def test_what_is_no_time_or_in_another_unit_is_refused(
    values: Any, unit: TimeUnit, message: str
) -> None:
    """The row, the value, how many more there are, and the unit that it seems to be in."""
    with pytest.raises(DatasetError, match=message):
        of_times(values, unit)


def test_a_few_times_of_another_unit_are_remarked_on() -> None:
    """They are within the bounds, so they are taken as they are."""
    heard: list[str] = []
    assert of_times([NOW, NOW // 1000], heard=heard) == [NOW, NOW // 1000]
    assert heard == [
        "1 times of column 'time' lie in 1970 while others do not; they look like seconds; "
        "correct them (first: log: row 2, column 'time')"
    ]


def test_small_times_that_are_no_other_units_are_taken() -> None:
    """Logs whose clock begins at its first click."""
    assert of_times([60_000, 120_000]) == [60_000, 120_000]


def test_a_time_of_a_row_that_is_left_out_does_not_matter(tmp_path: Path) -> None:
    """And the rows that are named are those of the file."""
    (tmp_path / "log.csv").write_text(f"user,item,time\n,x,never\na,y,{NOW}\nb,z,never\n")
    with pytest.raises(DatasetError, match="row 3, column 'time': 'never' is no number"):
        columns.read(tmp_path / "log.csv", say=lambda _: None)
