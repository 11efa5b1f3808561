"""Files as tables of the columns that are wanted: CSV as text,
exactly as written; Parquet in its own types.

A directory is read file by file, in the order of names, and `key=value` folders in it are columns
of text. So each value has a file and a row to be named by, and files need not agree in types.
"""

from __future__ import annotations

import csv as text_csv
import io
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from training.errors import DatasetError

CSV_ENDINGS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
ENDINGS = (".parquet", *CSV_ENDINGS)
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
FOREIGN = {  # how files of other kinds begin
    b"PAR1": "a Parquet file: rename it to end in .parquet",
    b"\x1f\x8b": "compressed: rename it to end in .csv.gz",
    b"\x28\xb5\x2f\xfd": "compressed: rename it to end in .csv.zst",
    b"BZh": "compressed: rename it to end in .csv.bz2",
    b"PK\x03\x04": "a zip file or a workbook: save it as CSV in UTF-8",
    b"\xff\xfe": "text in UTF-16: save it as CSV in UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as CSV in UTF-8",
}


@dataclass(frozen=True)
class TableFile:
    """One file, and what the folders on the way to it say."""

    path: Path
    folders: dict[str, str | None] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The columns, in their order; those that folders add come last.

        Raises:
            DatasetError: the file cannot be read.
        """
        with _readable(self.path):
            own = (
                _parquet_names(self.path)
                if self.path.suffix == ".parquet"
                else _beginning(self.path)[0]
            )
        return [*own, *(name for name in self.folders if name not in own)]

    def table(self, wanted: Sequence[str]) -> pa.Table:
        """Some columns, in the order of the file's rows.

        Raises:
            DatasetError: the file cannot be read, or has a wanted column twice.
        """
        names = self.names()
        if twice := [name for name in wanted if names.count(name) > 1]:
            raise DatasetError(
                f"{self.path}: {names.count(twice[0])} columns are called {twice[0]!r}; rename "
                "all but one"
            )
        with _readable(self.path):
            if self.path.suffix == ".parquet":
                return self._with_folders(_parquet(self.path, wanted), wanted)
            return self._with_folders(_csv(self.path, wanted), wanted)

    def _with_folders(self, table: pa.Table, wanted: Sequence[str]) -> pa.Table:
        for name in wanted:
            if name not in table.column_names:
                table = table.append_column(
                    name, pa.array([self.folders[name]] * len(table), pa.large_string())
                )
        return table


def find(path: Path) -> list[TableFile]:
    """The file, or all files of a directory whose names end as those of
    click logs; hidden ones are left out.

    Raises:
        DatasetError: there is nothing to read, or a directory mixes CSV and Parquet.
    """
    if not path.is_dir():
        if not path.name.endswith(ENDINGS):
            raise DatasetError(f"{path}: a click log file must end in one of {', '.join(ENDINGS)}")
        if not path.exists():
            raise DatasetError(
                f"cannot read {path}: there is no such file; give --path the file of your log"
            )
        return [TableFile(path)]
    files = []
    for found in sorted(path.rglob("*")):
        inside = found.relative_to(path).parts
        if (
            found.is_file()
            and found.name.endswith(ENDINGS)
            and not any(part[0] in "._" for part in inside)
        ):
            files.append(TableFile(found, _folders(inside[:-1])))
    if not files:
        raise DatasetError(
            f"the directory {path} holds no file that ends in one of {', '.join(ENDINGS)}"
        )
    if len({file.path.suffix == ".parquet" for file in files}) > 1:
        raise DatasetError(
            f"the directory {path} holds CSV and Parquet files; keep one log of one form in it"
        )
    return files


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of reading as one of ours."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException, text_csv.Error) as error:
        raise DatasetError(
            f"cannot read {path}: {error}; the file may be damaged or still being written"
        ) from error


def _folders(parts: Sequence[str]) -> dict[str, str | None]:
    pairs = [part.split("=", 1) for part in parts if "=" in part]
    return {
        name: None if value == NO_VALUE else urllib.parse.unquote(value) for name, value in pairs
    }


def _parquet_names(path: Path) -> list[str]:
    with parquet.ParquetFile(path) as content:
        return list(content.schema_arrow.names)


def _parquet(path: Path, wanted: Sequence[str]) -> pa.Table:
    with parquet.ParquetFile(path) as content:
        own = [name for name in content.schema_arrow.names if name in wanted]
        table = content.read(columns=own)  # also matches `own` + ".": all that lies below
        return table.select(own)


def _beginning(path: Path) -> tuple[list[str], bool]:
    """The names in the first row that is not empty, and whether there is another one.

    Raises:
        DatasetError: there is none, or the file is no CSV.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    compressed = path.suffix != ".csv"
    for magic, what in FOREIGN.items():
        if start.startswith(magic) and not (compressed and "compressed" in what):
            raise DatasetError(f"{path} is no plain CSV but {what}")
    with pa.input_stream(str(path), compression="detect") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="backslashreplace", newline="")
        if names := next(filter(None, text_csv.reader(text)), None):
            return names, bool(text.read(4096).strip("\r\n"))
    raise DatasetError(
        f"{path} is empty; give --path a file with a row of names, then a row for each click"
    )


def _csv(path: Path, wanted: Sequence[str]) -> pa.Table:
    """Texts as bytes, nothing taken for a number, a time or a missing value."""
    names, more = _beginning(path)
    own = [name for name in wanted if name in names]
    numbered = [str(number) for number in range(len(names))]  # unwanted columns may share a name
    included = [numbered[names.index(name)] for name in own]
    if not more:
        return pa.table({name: pa.array([], pa.binary()) for name in own})
    bad: list[Any] = []

    def noted(row: Any) -> str:
        bad.append(row)
        return "error"

    def read(*, threads: bool) -> pa.Table:
        with pa.input_stream(str(path), compression="detect") as stream:
            return csv.read_csv(
                stream,
                csv.ReadOptions(
                    column_names=numbered, skip_rows_after_names=1, use_threads=threads
                ),
                csv.ParseOptions(newlines_in_values=True, invalid_row_handler=noted),
                csv.ConvertOptions(
                    include_columns=included,
                    column_types=dict.fromkeys(numbered, pa.binary()),
                    strings_can_be_null=False,
                ),
            )

    try:
        return read(threads=True).rename_columns(own)
    except pa.ArrowInvalid as error:
        bad.clear()
        try:
            read(threads=False)  # alone it counts the rows
        except pa.ArrowInvalid:
            if bad:
                raise DatasetError(_ragged(path, bad[0])) from None
        raise DatasetError(
            f"cannot read {path}: {error}; a text with a quote, a comma or a line break in it "
            "needs double quotes around it, and a quote that is opened must be closed"
        ) from error


def _ragged(path: Path, row: Any) -> str:
    return (
        f"{path}: row {row.number - 1:,} has {row.actual_columns} columns instead of "
        f"{row.expected_columns}: {row.text[:80]!r}; correct it: a text with a comma or a line "
        "break in it needs double quotes around it, and a quote that is opened must be closed"
    )
