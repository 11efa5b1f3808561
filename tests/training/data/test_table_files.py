"""Files that cannot be read are named, with what to do about them; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from training.data import columns
from training.errors import DatasetError

NOW = 1_764_300_000_000
HEAD = "user,item,time\n"
ROW = f"a,x,{NOW}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; give --path a file with a row of names"),
        ("\n\n", "is empty"),
        (HEAD, "holds no click that can be learned from: 1 files have no rows"),
        (HEAD[:-1], "holds no click"),
        ("user,item,time,user\na,x,1,b\n", "2 columns are called 'user'; rename all but one"),
        (HEAD + ROW + "b,y\n" + ROW, r"row 2 has 2 columns instead of 3: 'b,y'; correct it"),
        (HEAD + ROW + "b,y,1,2\n", "row 2 has 4 columns instead of 3"),
        (HEAD + 'a,"x,1\n' + ROW * 3, "a quote that is opened must be closed"),
        (
            "user;item;time\na;x;1\n",
            "its columns are parted by semicolons: write the file with commas",
        ),
        ("user\titem\ttime\na\tx\t1\n", "its columns are parted by tabs"),
        (
            "User,Item ,time\na,x,1\n",
            r"no column 'user' for the role 'user'.*did you mean 'User'\?",
        ),
        (
            "user,items,time\na,x,1\n",
            r"no column 'item' .*did you mean 'items'\?.*--field item=COLUMN",
        ),
        ("a,x,1764300000000\nb,y,1764300000001\n", "a CSV file names its columns in its first row"),
        (f"user,item,time,rating\na,x,{NOW},five\n", "row 1, column 'rating': 'five' is no rating"),
        (
            f"user,item,time,rating\na,x,{NOW},inf\n",
            "row 1, column 'rating': the rating is infinite",
        ),
        (
            (HEAD + f"Zoë,x,{NOW}\n").encode("latin1"),
            r"row 1, column 'user': b'Zo\\xeb' is no UTF-8.*iconv -f latin1",
        ),
        ((HEAD + ROW).encode("utf-16"), "text in UTF-16: save it as CSV in UTF-8"),
        (b"PK\x03\x04rest", "a zip file or a workbook"),
        (b"\x1f\x8b\x08rest", "compressed: rename it to end in .csv.gz"),
        (b"PAR1rest", "a Parquet file: rename it"),
    ],
)
def test_a_csv_file_that_cannot_be_read_says_why(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    """The file, the row, and what to do."""
    path = tmp_path / "log.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=message) as caught:
        columns.read(path)
    assert str(path) in str(caught.value)


def test_columns_that_nobody_asks_for_do_not_matter(tmp_path: Path) -> None:
    """They may share a name, or hold what is no UTF-8."""
    (tmp_path / "log.csv").write_bytes(
        f"note,user,item,time,note\nZoë,a,x,{NOW},\n".encode("latin1")
    )
    assert columns.read(tmp_path / "log.csv").users.tolist() == ["a"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and half a file"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    """Parquet without its end, gzip that stops."""
    (tmp_path / "log.parquet").write_bytes(content)
    (tmp_path / "log.csv.gz").write_bytes(b"\x1f\x8b\x08\x00" + content)
    for name in ("log.parquet", "log.csv.gz"):
        with pytest.raises(DatasetError, match=rf"{name}"):
            columns.read(tmp_path / name)


def test_parquet_with_two_columns_of_a_name_is_refused(tmp_path: Path) -> None:
    """Which one is meant cannot be told."""
    table = pa.table([["a"], ["x"], [NOW], ["b"]], names=["user", "item", "time", "user"])
    parquet.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DatasetError, match="2 columns are called 'user'"):
        columns.read(tmp_path / "log.parquet")


def test_parquet_with_texts_that_are_no_utf8_is_refused(tmp_path: Path) -> None:
    """Parquet's writers do not all check; the row is named."""
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"Zo\xeb")]
    )
    parquet.write_table(
        pa.table({"user": bad, "item": ["x"], "time": [NOW]}), tmp_path / "log.parquet"
    )
    with pytest.raises(DatasetError, match=r"row 1, column 'user': b'Zo\\xeb' is no UTF-8"):
        columns.read(tmp_path / "log.parquet")


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """Its files need not have the same columns; a file without actions means click."""
    (tmp_path / "b.csv").write_text(f"action,time,user,item\nbuy,{NOW},b,y\n")
    (tmp_path / "a.csv").write_text(HEAD + ROW)
    (tmp_path / "notes.txt").write_text("not a log")
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "c.csv").write_text("half a li")
    log = columns.read(tmp_path)
    assert (log.users.tolist(), log.actions.tolist()) == (["a", "b"], ["click", "buy"])
    (tmp_path / "c.csv").write_text("user,time\na,1\n")
    with pytest.raises(DatasetError, match=r"c\.csv has no column 'item'"):
        columns.read(tmp_path)


def test_ratings_in_some_files_of_a_directory_only_are_refused(tmp_path: Path) -> None:
    """No rating is no label."""
    (tmp_path / "a.csv").write_text(HEAD + ROW)
    (tmp_path / "b.csv").write_text(f"user,item,time,rating\nb,y,{NOW},4\n")
    with pytest.raises(DatasetError, match="some files have ratings and some have none"):
        columns.read(tmp_path)


def test_ratings_are_numbers_labels_or_nothing(tmp_path: Path) -> None:
    """Nothing is NaN."""
    rows = "".join(f"a,x,{NOW},{rating}\n" for rating in ("4.5", "true", "false", "", "NA"))
    (tmp_path / "a.csv").write_text("user,item,time,rating\n" + rows)
    log = columns.read(tmp_path / "a.csv")
    assert log.ratings is not None
    assert str(log.ratings.tolist()) == "[4.5, 1.0, 0.0, nan, nan]"


def test_what_is_no_log_is_named(tmp_path: Path) -> None:
    """Another ending, nothing there, a directory without logs or with both forms."""
    with pytest.raises(
        DatasetError, match=r"log\.tsv: a click log file must end in one of \.parquet, \.csv"
    ):
        columns.read(tmp_path / "log.tsv")
    with pytest.raises(DatasetError, match="there is no such file"):
        columns.read(tmp_path / "log.csv")
    with pytest.raises(DatasetError, match="holds no file that ends in one of"):
        columns.read(tmp_path)
    (tmp_path / "a.csv").write_text(HEAD + ROW)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(DatasetError, match="holds CSV and Parquet files"):
        columns.read(tmp_path)
