"""Any click log that lies in a Parquet or CSV file, through a mapping of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from training.clicklog import ClickLog, Longs
from training.errors import DatasetError

TimeUnit = Literal["ms", "s", "iso8601"]
ROLES = ("user", "item", "time", "action", "rating")


def read(path: Path, columns: Mapping[str, str] | None = None, time_unit: TimeUnit = "ms") -> ClickLog:
    """The click log of a `.parquet` or `.csv` file.

    Args:
        path: the file; one row an event.
        columns: role -> column name; roles are user, item, time, action and rating. A role that is not
            named is looked for under its own name; action (then "click") and rating may be missing.
        time_unit: of numeric times; timestamp columns need none.

    Raises:
        DatasetError: the file, a column or a time cannot be read.

    """
    named = dict(columns or {})
    if unknown := sorted(set(named) - set(ROLES)):
        raise DatasetError(f"column mapping: unknown roles {unknown}; known are {list(ROLES)}")
    return of_table(_table(path), named, time_unit, path)


def of_table(table: Any, named: Mapping[str, str], time_unit: TimeUnit, path: Path | str) -> ClickLog:
    """The click log of the rows of `table`, in their order; `path` is for messages."""
    found = {role: _column(table, named, role, path) for role in ROLES}
    user, item, rating = found["user"], found["item"], found["rating"]
    return ClickLog(
        users=_strings(user, "user", path),
        items=_strings(item, "item", path),
        actions=np.full(len(table), "click", dtype=object)
        if found["action"] is None
        else _strings(found["action"], "action", path),
        times_ms=_times_ms(found["time"], time_unit, path),
        ratings=None if rating is None else np.asarray(rating.cast(pa.float64()).to_numpy()),
    )


def _table(path: Path) -> Any:
    try:
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        if path.suffix == ".csv":
            return csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    raise DatasetError(f"{path}: a click log file must end in .parquet or .csv")


def _column(table: Any, named: Mapping[str, str], role: str, path: Path | str) -> Any:
    name = named.get(role, role)
    if name in table.column_names:
        return table[name]
    if role in {"action", "rating"} and role not in named:
        return None
    raise DatasetError(
        f"{path} has no column {name!r} for the role {role!r}; its columns are {table.column_names}; "
        f"name the right one in the column mapping"
    )


def _strings(column: Any, role: str, path: Path | str) -> np.ndarray:
    if column.null_count:
        raise DatasetError(f"{path}: {column.null_count} rows have no {role}; remove them from the file")
    return np.asarray(column.cast(pa.string()).to_numpy(), dtype=object)


def _times_ms(column: Any, unit: TimeUnit, path: Path | str) -> Longs:
    if column.null_count:
        raise DatasetError(f"{path}: {column.null_count} rows have no time; remove them from the file")
    try:
        if unit == "iso8601" and pa.types.is_string(column.type):
            column = pc.cast(column, pa.timestamp("ms", tz="UTC"))
        if pa.types.is_timestamp(column.type):
            return np.asarray(column.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64()).to_numpy())
        scale = 1000.0 if unit == "s" else 1.0
        if pa.types.is_integer(column.type):
            return np.asarray(column.cast(pa.int64()).to_numpy()) * int(scale)
        return np.asarray(np.rint(column.cast(pa.float64()).to_numpy() * scale), dtype=np.int64)
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{path}: times are not in the unit {unit!r}: {error}; set time_unit") from error
