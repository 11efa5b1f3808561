"""What waits to be archived."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa

from actors.archive.parquet import SCHEMA
from actors.archive.pending import Pending, Row

ROWS: list[Row] = [
    ("anna", "höhle", "click", 1_700_000_000_000, 0, 1),
    ("", "日本", "buy", -5, 2**40, 2),
]


def test_rows_become_columns() -> None:
    """The columns are those that Arrow itself would make of the rows,
    whatever the ids are written in.
    """
    pending = Pending(partition=0, start=0, stop=0, after=None)
    pending.add(2, ROWS)
    pending.add(3, [])
    columns = [
        pa.array(values, kind)
        for values, kind in zip(zip(*ROWS, strict=True), SCHEMA.types, strict=True)
    ]
    assert pending.table() == pa.table(columns, schema=SCHEMA)
    assert (pending.records, pending.place.stop) == (2, 3)
    pending.table().validate(full=True)


def test_waiting_clicks_do_not_cost_an_import() -> None:
    """Nothing that the archive does for a click imports pandas,
    which takes a second of a process that starts anew.
    """
    program = (
        "import sys\n"
        "from actors.archive.pending import Pending\n"
        "pending = Pending(partition=0, start=0, stop=0, after=None)\n"
        "pending.add(1, [('u', 'i', 'click', 1, 0, 1)])\n"
        "pending.table()\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
