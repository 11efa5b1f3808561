"""Ids of files: the very strings that live records with them give,
or an error that names the row.
"""

from __future__ import annotations

import csv
import gzip
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from actors.clicks.formats import EventFormat, JsonParser
from tests.training.logs import read_noted
from training.data import columns
from training.data.clicklog import unique_strings
from training.errors import DatasetError

NOW = 1_764_300_000_000
ODD = [
    "000123",
    "0",
    "-0",
    "1E10",
    "1e+10",
    "0x10",
    "TRUE",
    "False",
    "2025-11-28",
    "12:30",
    "NA",
    "null",
    "nan",
    "NaN",
]
ODD += [
    "None",
    "N/A",
    "#N/A",
    "inf",
    "+1",
    "1.0",
    "1,5",
    " x ",
    "\t",
    'say "hi"',
    "two\nlines",
    "\r\n",
    "Zoë",
    "日本",
    "😀",
]
ODD += [
    "36893488147419103232",
    "36893488147419103233",
    "9" * 20,
    "\x00",
    "a;b",
    "'",
    "\ufeffx",
    "ﬁ",
    "e\u0301",
]
ids = (
    st.sampled_from(ODD)
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
    | st.from_regex(r"0*\d{1,25}")
)
TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
]
TEXT_TYPES += [pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())]
TEXT_TYPES += [pa.dictionary(pa.int16(), pa.binary()), pa.run_end_encoded(pa.int32(), pa.string())]


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values as a column of a type that Arrow may not be able to make directly."""
    if pa.types.is_dictionary(kind):
        names = list(dict.fromkeys(values))
        index = pa.array([names.index(value) for value in values], kind.index_type)
        return pa.DictionaryArray.from_arrays(index, pa.array(names, kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return pa.RunEndEncodedArray.from_arrays(
            range(1, len(values) + 1), pa.array(values, kind.value_type)
        )
    return pa.array(values, kind)


def of_ids(values: pa.Array) -> tuple[list[str], list[str]]:
    """The users that are read from a column of them, and what was remarked."""
    heard: list[str] = []
    table = pa.table({"user": values, "item": ["x"] * len(values), "time": [NOW] * len(values)})
    log = read_noted(table, heard)
    return log.users.tolist(), heard


@settings(max_examples=60, deadline=None)
@given(users=st.lists(ids, min_size=1, max_size=5), data=st.data())
def test_drawn_ids_come_back_as_written(
    users: list[str], data: st.DataObject, tmp_path_factory: Any
) -> None:
    """Whatever an id looks like, CSV and each text type of Parquet
    give it as a live record does.
    """
    folder = tmp_path_factory.mktemp("ids")
    parser = JsonParser(EventFormat(format="json"))
    live = [
        parser(json.dumps({"user": user, "item": "x", "time": NOW}).encode()).user for user in users
    ]
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerows([("time", "user", "item"), *((NOW, user, user) for user in users)])
    log = columns.read(folder / "log.csv")
    assert log.users.tolist() == log.items.tolist() == live
    kind = data.draw(st.sampled_from(TEXT_TYPES))
    if not pa.types.is_run_end_encoded(kind):  # which Parquet does not keep
        table = pa.table({"user": column(users, kind), "item": users, "time": [NOW] * len(users)})
        parquet.write_table(table, folder / "log.parquet")
        assert columns.read(folder / "log.parquet").users.tolist() == live
    assert of_ids(column(users, kind))[0] == live


def test_unquoted_ids_of_csv_are_not_retyped(tmp_path: Path) -> None:
    """Columns that look like numbers, times or booleans throughout stay text."""
    for odd in (
        "000123",
        "1E10",
        "0x10",
        "TRUE",
        "12:30",
        "2025-11-28",
        "NA",
        "nan",
        "36893488147419103232",
    ):
        (tmp_path / "log.csv").write_text(f"user,item,time\n{odd},{odd},{NOW}\n{odd},{odd},{NOW}\n")
        log = columns.read(tmp_path / "log.csv")
        assert log.users.tolist() == log.items.tolist() == [odd, odd]


@pytest.mark.parametrize(
    "kind",
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
    ids=lambda kind: kind,
)
def test_integers_of_every_width_are_their_digits(kind: str) -> None:
    """The largest and the smallest of the type."""
    ends = np.iinfo(kind)
    assert of_ids(pa.array([ends.min, 7, ends.max], kind)) == (
        [str(ends.min), "7", str(ends.max)],
        [],
    )


def test_whole_floats_and_decimals_are_integers_and_said() -> None:
    """What a data frame makes of integers with gaps; the gaps have no user."""
    users, heard = of_ids(pa.array([196.0, None, float("nan"), 2.0**53 - 1]))
    assert users == ["196", "9007199254740991"]
    assert heard[0].startswith("2 ids in column 'user' of double are read as whole numbers")
    assert heard[1].startswith(
        "2 rows have no user and are left out, as serving refuses them (first: log: row 2"
    )
    assert of_ids(pa.array([Decimal(10) ** 30], pa.decimal128(38, 0))) == ([str(10**30)], [])
    assert of_ids(pa.array([Decimal("196.00")], pa.decimal128(9, 2)))[0] == ["196"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pa.array([1.0, 196.5]),
            r"log: row 2, column 'user': 196\.5 of a column of double is no id \(1 rows",
        ),
        (pa.array([2.0**53]), r"whole numbers below 2\^53"),
        (pa.array([2.0**24], pa.float32()), r"whole numbers below 2\^24"),
        (pa.array([float("inf")]), "inf of a column of double is no id"),
        (pa.array([Decimal("1.5")]), r"row 1, column 'user': 1\.5 is no id"),
        (pa.array([True]), "column 'user' holds bool, which is no id; write the ids as text"),
        (pa.array([NOW], pa.timestamp("ms")), r"holds timestamp\[ms\], which is no id"),
        (pa.array([3], pa.date32()), "holds date32"),
        (pa.array([["a"]]), "holds list<"),
        (
            pa.array([{"id": "a"}]),
            r"holds struct<id: string>, which is no id; name what lies inside, such as COLUMN\.id",
        ),
        (
            pa.array([b"ok", b"Zo\xeb"]),
            r"row 2, column 'user': b'Zo\\xeb' is no UTF-8; convert the file",
        ),
    ],
)
def test_what_is_no_id_is_refused_with_its_row(values: pa.Array, message: str) -> None:
    """A type that holds no ids, or a row that holds none."""
    with pytest.raises(DatasetError, match=message):
        of_ids(values)


def test_a_uuid_is_its_usual_text() -> None:
    """As a producer writes it into JSON."""
    one = uuid.UUID("12345678-1234-5678-1234-567812345678")
    assert of_ids(pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes], pa.binary(16))))[
        0
    ] == [str(one)]


def test_fields_of_structs_are_named_with_dots(tmp_path: Path) -> None:
    """As in serving; a column that has the dot in its name comes first;
    a row without the struct has no id.
    """
    inside = pa.array([{"id": "000123"}, None, {"id": ""}])
    table = pa.table(
        {"user": inside, "item": ["x", "y", "z"], "a.b": ["c"] * 3, "a": inside, "time": [NOW] * 3}
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    log = columns.read(tmp_path / "log.parquet", {"user": "user.id", "item": "a.b"})
    assert (log.users.tolist(), log.items.tolist()) == (["000123"], ["c"])
    with pytest.raises(
        DatasetError,
        match=r"no column 'user\.ID'.*'user' holds the fields \['id'\]; did you mean 'id'\?",
    ):
        columns.read(tmp_path / "log.parquet", {"user": "user.ID"})
    with pytest.raises(DatasetError, match=r"'item' holds string and no fields"):
        columns.read(tmp_path / "log.parquet", {"item": "item.id"})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_missing_id_is_left_out_and_a_missing_action_is_click(
    tmp_path: Path, ending: str
) -> None:
    """As serving does with such records, and with a count; integers are actions, too."""
    users = ["ann", "", "bob", "cid"]
    items = ["x", "y", "", "z"]
    actions = ["buy", "buy", "buy", ""]
    path = tmp_path / f"log.{ending}"
    if ending == "csv":
        rows = [",".join(row) for row in zip(users, items, [str(NOW)] * 4, actions, strict=True)]
        path.write_text("\n".join(["user,item,time,action", *rows]) + "\n")
    else:
        gaps = pa.array([each or None for each in users])
        parquet.write_table(
            pa.table({"user": gaps, "item": items, "time": [NOW] * 4, "action": actions}), path
        )
    heard: list[str] = []
    log = columns.read(path, say=heard.append)
    assert (log.users.tolist(), log.items.tolist(), log.actions.tolist()) == (
        ["ann", "cid"],
        ["x", "z"],
        ["buy", "click"],
    )
    assert [note.split(" (")[0] for note in heard] == [
        "1 rows have no user and are left out, as serving refuses them",
        "1 rows have no item and are left out, as serving refuses them",
    ]


def test_a_log_without_any_user_is_an_error(tmp_path: Path) -> None:
    """Nothing would be left to learn from."""
    (tmp_path / "log.csv").write_text(f"user,item,time\n,x,{NOW}\n,y,{NOW}\n")
    with pytest.raises(
        DatasetError, match=r"holds no click that can be learned from: 2 rows have no user.*row 1"
    ):
        columns.read(tmp_path / "log.csv")


def test_a_user_named_by_a_folder_keeps_its_zeros(tmp_path: Path) -> None:
    """Folders are text, percent-encoded; files need not agree in types."""
    for number, user in enumerate(("000123", "a%2Fb", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"user={user}" / f"date=2026-01-0{number + 1}"
        folder.mkdir(parents=True)
        item: list[Any] = ["x"] if number else [7.0]
        parquet.write_table(pa.table({"item": item, "time": [NOW]}), folder / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.parquet").touch()
    heard: list[str] = []
    log = columns.read(tmp_path, say=heard.append)
    assert (log.users.tolist(), log.items.tolist()) == (["000123", "a/b"], ["7", "x"])
    assert len(heard) == 2
    by_date = columns.read(tmp_path, {"action": "date"}, say=heard.append)
    assert by_date.actions.tolist() == ["2026-01-01", "2026-01-02"]


def test_compressed_csv_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    """What a spreadsheet writes, and what a log shipper compresses."""
    text = (
        f'\ufeff"user",item,time,note\r\nann,"x, y",{NOW},"two\r\nlines"\r\n\r\nbob,"say '
        f'""hi""",{NOW},\r\n'
    )
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    log = columns.read(tmp_path / "log.csv.gz")
    assert (log.users.tolist(), log.items.tolist()) == (["ann", "bob"], ["x, y", 'say "hi"'])


def test_ids_beyond_two_gibibytes_come_in_chunks() -> None:
    """However many chunks a column has, a text has one code; equal texts of two chunks are one."""
    chunks = pa.chunked_array([["b", "a"], [], ["a", "c", "b"]], pa.string())
    codes, names = unique_strings(chunks)
    assert (codes.tolist(), names.tolist()) == ([0, 1, 1, 2, 0], ["b", "a", "c"])
    codes, names = unique_strings(pa.chunked_array([], pa.string()))
    assert (len(codes), len(names)) == (0, 0)


def test_long_ids_are_remarked_on() -> None:
    """Serving refuses them by default, so a model that knows them knows what never comes."""
    users, heard = of_ids(pa.array(["é" * 129, "b" * 256]))
    assert users == ["é" * 129, "b" * 256]
    assert heard == [
        "1 ids have more than 256 bytes: serving refuses such unless events.id_bytes_max is raised "
        "(first: log: row 1, column 'user')"
    ]
