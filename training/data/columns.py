"""Any click log that lies in Parquet or CSV files, through a mapping of its columns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from model.arrays import Doubles
from training.data import id_column, rating_column, table_files, time_column
from training.data.clicklog import ClickLog, joined
from training.data.place import Place
from training.data.remarks import Remarks, Say, to_stderr
from training.data.table_files import TableFile
from training.data.time_column import TimeUnit
from training.errors import DatasetError

ROLES = ("user", "item", "time", "action", "rating")
OPTIONAL = ("action", "rating")
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read(
    path: Path,
    columns: Mapping[str, str] | None = None,
    time_unit: TimeUnit = "ms",
    say: Say = to_stderr,
) -> ClickLog:
    """The click log of a `.parquet` or `.csv` file, or of all such files in a directory.

    Ids are the strings that live records with them would give, whatever the column's type; clicks
    without a user or an item are left out, as serving does.

    Args:
        path: the file, one row an event; or a directory, where `key=value` folders are columns.
        columns: role -> column name; roles are user, item, time, action and rating. A role that is
            not named is looked for under its own name; action (then "click") and rating may be
            missing. A dot goes into a column of structs: `product.id`.
        time_unit: of numeric times; timestamp columns need none.
        say: hears of what was left out or read in another way than it looks.

    Raises:
        DatasetError: a file, a column or a value cannot be read; the message says which.
    """
    named = dict(columns or {})
    if unknown := sorted(set(named) - set(ROLES)):
        raise DatasetError(f"column mapping: unknown roles {unknown}; known are {list(ROLES)}")
    remarks = Remarks()
    logs = [_of_file(file, named, time_unit, remarks) for file in table_files.find(path)]
    if len({log.ratings is None for log in logs if len(log)}) > 1:
        raise DatasetError(
            f"{path}: some files have ratings and some have none; give all of them, or none, the "
            "column"
        )
    log = joined([log for log in logs if len(log)] or logs[:1])
    if not len(log):
        why = "; ".join(remarks.sentences()) or "no rows"
        raise DatasetError(
            f"{path} holds no click that can be learned from: {why}; bring a log, or name its "
            "columns"
        )
    remarks.tell(say)
    return log


def of_table(
    table: pa.Table,
    named: Mapping[str, str],
    time_unit: TimeUnit,
    path: Path | str,
    remarks: Remarks,
    *,
    strict: bool = True,
) -> ClickLog:
    """The click log of the rows of `table`, in their order; `path` is for messages.

    Without `strict`, times that look like another unit's are remarked on and taken.
    """
    places = {role: Place(str(path), named.get(role, role)) for role in ROLES}
    found = {role: _inside(table, named, role, path) for role in ROLES}
    ids = {role: id_column.texts(found[role], places[role], remarks) for role in ("user", "item")}
    kept = np.ones(len(table), dtype=bool)
    for role, column in ids.items():
        missing = column.is_null().to_numpy()
        _count_missing(missing, role, places[role], remarks)
        kept &= ~missing
    rows = np.flatnonzero(kept)
    columns = {
        role: column.filter(pa.array(kept)) for role, column in found.items() if column is not None
    }
    at = {role: place.of(rows) for role, place in places.items()}
    return ClickLog(
        users=id_column.strings(ids["user"].filter(pa.array(kept))),
        items=id_column.strings(ids["item"].filter(pa.array(kept))),
        actions=_actions(columns.get("action"), len(rows), at["action"], remarks),
        times_ms=time_column.times_ms(
            columns["time"], time_unit, at["time"], remarks, strict=strict
        ),
        ratings=_ratings(columns.get("rating"), at["rating"]),
    )


def _of_file(
    file: TableFile, named: Mapping[str, str], time_unit: TimeUnit, remarks: Remarks
) -> ClickLog:
    names = file.names()
    wanted = []
    for role in ROLES:
        if (path := _place(names, named.get(role, role))) is not None:
            wanted.append(path[0])
        elif role not in OPTIONAL or role in named:
            raise DatasetError(_no_column(file.path, names, named.get(role, role), role))
    table = file.table(list(dict.fromkeys(wanted)))
    if not len(table):
        remarks.add("files have no rows", 1, str(file.path))
    return of_table(table, named, time_unit, file.path, remarks)


def _place(names: Sequence[str], name: str) -> tuple[str, ...] | None:
    """The column, and the fields below it: a column that is called as asked,
    else the longest that leads there.
    """
    if name in names:
        return (name,)
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (column := ".".join(parts[:length])) in names:
            return (column, *parts[length:])
    return None


def _inside(table: pa.Table, named: Mapping[str, str], role: str, path: Path | str) -> Any:
    """The column of a role, or None; a struct's field where the name leads into one."""
    name = named.get(role, role)
    place = _place(table.column_names, name)
    if place is None:
        if role in OPTIONAL and role not in named:
            return None
        raise DatasetError(_no_column(path, table.column_names, name, role))
    column = id_column.plain(table[place[0]])
    for depth, below in enumerate(place[1:], start=1):
        fields = [each.name for each in column.type] if types.is_struct(column.type) else []
        if fields.count(below) != 1:
            above = ".".join(place[:depth])
            holds = f"the fields {fields}" if fields else f"{column.type} and no fields"
            raise DatasetError(
                f"{path} has no column {name!r} for the role {role!r}: {above!r} holds {holds}; "
                f"{_nearest(below, fields)}name one of them in the column mapping"
            )
        parts = [pc.struct_field(part, [below]) for part in column.chunks]
        column = id_column.plain(pa.chunked_array(parts, column.type.field(below).type))
    return column


def _no_column(path: Path | str, names: Sequence[str], name: str, role: str) -> str:
    hint = _nearest(name, names)
    if len(names) == 1 and (
        found := [word for each, word in OTHER_DELIMITERS.items() if each in names[0]]
    ):
        hint = f"its columns are parted by {found[0]}: write the file with commas; "
    elif not str(path).endswith(".parquet"):
        hint += "a CSV file names its columns in its first row; "
    return (
        f"{path} has no column {name!r} for the role {role!r}; its columns are {list(names)}; "
        f"{hint}"
        f"name the right one in the column mapping, such as --field {role}=COLUMN"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    folded = {each.casefold().strip(): each for each in reversed(known)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"did you mean {folded[near[0]]!r}? " if near else ""


def _count_missing(missing: Any, role: str, place: Place, remarks: Remarks) -> None:
    if missing.any():
        first = place.row(int(np.flatnonzero(missing)[0]))
        remarks.add(
            f"rows have no {role} and are left out, as serving refuses them",
            int(missing.sum()),
            first,
        )


def _actions(column: Any, count: int, place: Place, remarks: Remarks) -> np.ndarray:
    if column is None:
        return np.full(count, "click", dtype=object)
    return id_column.strings(pc.fill_null(id_column.texts(column, place, remarks), "click"))


def _ratings(column: Any, place: Place) -> Doubles | None:
    return None if column is None else rating_column.ratings(column, place)
