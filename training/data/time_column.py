"""A column of times as milliseconds since 1970: as serving reads them,
within the same bounds, or an error.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from model.arrays import Longs
from training.data.id_column import as_utf8, is_text, plain
from training.data.place import Place, shown
from training.data.remarks import Remarks
from training.errors import DatasetError

TimeUnit = Literal["ms", "s", "us", "ns", "iso8601"]
CEILING_MS = 4_102_444_800_000  # the year 2100, beyond which serving takes no click
LIKELY_S = (946_684_800, CEILING_MS // 1000)  # 2000 to 2100: where a log of clicks has its times
YEAR_S = 31_536_000
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DAY_MS = 86_400_000

Numbers = npt.NDArray[Any]  # (n,) ints or floats in some unit


def times_ms(
    column: pa.ChunkedArray, unit: TimeUnit, place: Place, remarks: Remarks, *, strict: bool = True
) -> Longs:
    """The times (n,). Without `strict`,
    times that look like another unit's are a remark and no error.

    Raises:
        DatasetError: a time is missing, no time, not after 1970 or not before 2100, or all look
            like another unit's.
    """
    column = plain(column)
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise DatasetError(
            f"{place.row(row)}: {column.null_count:,} rows have no time; remove them from the "
            "file, as serving refuses such clicks"
        )
    kind = column.type
    if is_text(kind):
        return _of_text(
            pc.utf8_trim_whitespace(as_utf8(column, place)), unit, place, remarks, strict=strict
        )
    if types.is_timestamp(kind):
        values = column.cast(pa.int64()).to_numpy()
        return _checked(values, kind.unit, place, remarks, "timestamps", strict=strict)
    if types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64)
        return _checked(days * DAY_MS, "ms", place, remarks, "dates", strict=strict)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        values = (column.cast(pa.float64()) if types.is_decimal(kind) else column).to_numpy()
        if unit == "iso8601":
            hint = _hint(values, unit) or "; set --time-unit to the unit of the numbers"
            raise DatasetError(
                f"{place} holds {kind}: times are not in the unit 'iso8601', which is text{hint}"
            )
        return _checked(values, unit, place, remarks, strict=strict)
    raise DatasetError(
        f"{place} holds {kind}, which is no time; write numbers, timestamps or ISO 8601 texts"
    )


def _of_text(found: Any, unit: TimeUnit, place: Place, remarks: Remarks, *, strict: bool) -> Longs:
    texts: list[str] = found.to_pylist()
    if "" in texts:
        raise DatasetError(
            f"{place.row(texts.index(''))}: {texts.count(''):,} rows have no time; remove them "
            "from the file, as serving refuses such clicks"
        )
    if unit == "iso8601" or (
        texts and not NUMBER.fullmatch(texts[0]) and _iso_ms(texts[0]) is not None
    ):
        values = np.array(
            [_iso(text, row, unit, place) for row, text in enumerate(texts)], dtype=np.int64
        )
        return _checked(values, "ms", place, remarks, "texts", strict=strict)
    if pc.all(pc.match_substring_regex(found, r"^[+-]?\d{1,18}$")).as_py() is not False:
        return _checked(
            np.array([int(text) for text in texts], dtype=np.int64),
            unit,
            place,
            remarks,
            strict=strict,
        )
    numbers = [_number(text, row, unit, place) for row, text in enumerate(texts)]
    if all(type(number) is int and abs(number) < 2**63 for number in numbers):
        return _checked(np.array(numbers, dtype=np.int64), unit, place, remarks, strict=strict)
    return _checked(np.array(numbers, dtype=np.float64), unit, place, remarks, strict=strict)


def _checked(
    values: Numbers, unit: str, place: Place, remarks: Remarks, of: str = "numbers", *, strict: bool
) -> Longs:
    """The values as milliseconds, if they are within serving's bounds and
    no other unit is more likely.
    """
    scaled = _in_ms(values, unit)
    with np.errstate(invalid="ignore"):
        wrong = ~((scaled > 0) & (scaled <= CEILING_MS))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        value = values[row]
        why = "not after 1970" if scaled[row] <= 0 else "beyond the year 2100"
        why = why if math.isfinite(value) else "no time"
        said = (
            f"{value} {WORDS[unit]}"
            if of == "numbers"
            else f"the time of {of}, {value} {WORDS[unit]} since 1970,"
        )
        hint = _hint(values[row : row + 1], unit) if of == "numbers" else ""
        raise DatasetError(
            f"{place.row(row)}: {said} is {why} ({np.count_nonzero(wrong):,} of {len(values):,} "
            "rows are so)"
            f"{hint or '; correct or remove such rows, as serving refuses them'}"
        )
    _doubt(values, unit, place, remarks, of, strict=strict)
    early = scaled < LIKELY_S[0] * 1000
    if early.any() and not early.all() and (hint := _hint(values[early], unit)):
        what = (
            f"times of column {place.column!r} lie in 1970 while others do "
            f"not{hint.split(': set')[0]}; correct them"
        )
        remarks.add(what, int(np.count_nonzero(early)), place.row(int(np.flatnonzero(early)[0])))
    return scaled.astype(np.int64)


def _doubt(
    values: Numbers, unit: str, place: Place, remarks: Remarks, of: str, *, strict: bool
) -> None:
    """Refuse what is within the bounds only because another unit's numbers are smaller."""
    if not len(values) or values.max() > YEAR_S * PER_SECOND[unit]:
        return
    if not (hint := _hint(values, unit)):
        return
    said = f"all {len(values):,} times, such as {values[0]}, lie in 1970 if they are {WORDS[unit]}"
    if of != "numbers":
        hint = hint.split("set --time-unit")[0] + "make the column anew from them"
    if strict:
        raise DatasetError(f"{place}: {said}{hint}")
    remarks.add(f"{said[4:]}{hint}", 1, str(place))


def _hint(values: Numbers, unit: str) -> str:
    """What the values, all of them, seem to be instead."""
    finite = values.astype(np.float64)
    if not np.isfinite(finite).all() or not len(finite):
        return ""
    low = float(finite.min())
    high = float(finite.max())
    if all(_is_day(value) for value in (low, high)) and not np.any(finite % 1):
        return (
            f"; they look like dates such as {int(low)}: write them as text and set "
            "--time-unit iso8601"
        )
    for name, per_second in PER_SECOND.items():
        if name != unit and LIKELY_S[0] * per_second <= low and high <= LIKELY_S[1] * per_second:
            return f"; they look like {WORDS[name]}: set --time-unit {name}"
    return ""


def _in_ms(values: Numbers, unit: str) -> Numbers:
    """Ints stay ints; what would not fit becomes a number beyond the bounds."""
    per_second = PER_SECOND[unit]
    if values.dtype.kind == "f":
        return np.asarray(np.rint(values.astype(np.float64) * 1000 / per_second))
    limit = CEILING_MS * per_second // 1000 + per_second
    clipped = np.clip(values, None, limit) if values.dtype.itemsize == 8 else values
    held = np.maximum(clipped.astype(np.int64), -limit)
    return held * 1000 if unit == "s" else held // (per_second // 1000)


def _number(text: str, row: int, unit: str, place: Place) -> int | float:
    if NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() and len(text) < 30 else float(text)
    hint = (
        "; set --time-unit iso8601"
        if _iso_ms(text) is not None
        else "; correct the row, or set --time-unit"
    )
    raise DatasetError(
        f"{place.row(row)}: {shown(text)} is no number: times are not in the unit {unit!r}{hint}"
    )


def _iso(text: str, row: int, unit: str, place: Place) -> int:
    found = _iso_ms(text)
    if found is None:
        hint = _hint(np.array([float(text)]), unit) if NUMBER.fullmatch(text) else ""
        raise DatasetError(
            f"{place.row(row)}: {shown(text)} is no ISO 8601 time such as "
            "2026-01-31T12:00:00.000Z: times are not in the unit "
            f"'iso8601'{hint or '; set --time-unit, or correct the row'}"
        )
    return found


def _iso_ms(text: str) -> int | None:
    """As `actors.clicks.formats` reads it: without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND
    except (ValueError, OverflowError):
        return None


def _is_day(value: float) -> bool:
    year = int(value) // 10_000
    month = int(value) // 100 % 100
    day = int(value) % 100
    return 1990 <= year <= 2100 and 1 <= month <= 12 and 1 <= day <= 31
