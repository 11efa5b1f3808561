"""What would lose a training's work at its end is found before it begins."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.training.logs import cyclic_log, make_log
from tests.training.quick_training import QUICKER, SHAPE
from training import commands, outputs, overview
from training.data.clicklog import ClickLog
from training.data.sequences import Vocabulary
from training.errors import DatasetError, TrainingError
from training.pilot.evaluate import evaluate_bundle
from training.publish import publish
from training.runs import by_time, leave_one_out, train_by_time

DAY_MS = 86_400_000


def with_actions(count: int) -> ClickLog:
    """A log of so many different actions."""
    log = make_log([("u", f"i{number % 5}", 1 + number) for number in range(count)])
    actions = np.array([f"a{number}" for number in range(count)], dtype=object)
    return ClickLog(users=log.users, items=log.items, actions=actions, times_ms=log.times_ms)


def test_an_output_that_cannot_be_written_ends_the_command_at_its_start(tmp_path: Path) -> None:
    """A file in the way, a folder below a file, a published bundle; the data are not even read."""
    (tmp_path / "file").touch()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").touch()
    for out, message in (
        ("file", "cannot write to"),
        ("file/below", "cannot write"),
        ("bundle", "a published bundle"),
    ):
        with pytest.raises(TrainingError, match=rf"{message}.*choose another --out"):
            commands.train_model("file", path=tmp_path / "missing.csv", out=tmp_path / out)
        with pytest.raises(TrainingError, match=message):
            commands.tune_model(
                "file", path=tmp_path / "missing.csv", out=tmp_path / out, minutes=1, samples=1
            )


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    """A folder that was not there is not there afterwards, one that was there keeps its files."""
    outputs.check_folder(tmp_path / "a" / "b")
    outputs.check_file(tmp_path / "c" / "report.html", "--report")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "report.html").write_text("old")
    outputs.check_file(tmp_path / "report.html", "--report")
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_report_that_cannot_be_written_is_said_before_the_questions(tmp_path: Path) -> None:
    """A directory of that name, a folder below a file; the bundle is not even read."""
    (tmp_path / "file").touch()
    for report, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "file" / "a.html", "cannot write"),
    ):
        with pytest.raises(TrainingError, match=message):
            evaluate_bundle(tmp_path / "none", "file", beside_bytes=25, report=report)
        with pytest.raises(TrainingError, match=message):
            evaluate_bundle(tmp_path / "none", "file", beside_bytes=25, json_out=report)


def test_publishing_deletes_no_other_files(tmp_path: Path) -> None:
    """A bundle's directory is replaced as a whole, so anything else in it would be lost."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(
        TrainingError, match="holds other files than a bundle, which would be deleted"
    ):
        commands.publish_model(tmp_path / "model", out=tmp_path)
    with pytest.raises(TrainingError, match="is a file; name a directory"):
        commands.publish_model(tmp_path / "model", out=tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (
            [(f"u{n % 5}", f"i{n % 3}", 1) for n in range(20)],
            "no click comes before them.*are the times right",
        ),
        (
            [(f"u{n % 5}" if n < 18 else f"n{n}", "i", 1 + n) for n in range(20)],
            "none of them has an earlier click",
        ),
        (
            [(f"u{n}", "i", 1 + n) for n in range(20)],
            "among the 18 clicks before no user has two events",
        ),
    ],
)
def test_an_empty_part_of_a_log_is_named_before_the_training(
    events: list[tuple[str, str, int]], message: str
) -> None:
    """All at one time, nobody who comes back late, nobody who comes back at all."""
    with pytest.raises(
        DatasetError, match=rf"the newest 10% of 20 clicks, from 1970-01-01 00:00 UTC on.*{message}"
    ):
        by_time(make_log(events))


def test_leave_one_out_needs_users_with_three_clicks() -> None:
    """Two are held out."""
    with pytest.raises(DatasetError, match="each user's last two clicks are held out"):
        leave_one_out(make_log([(f"u{n % 9}", "i", 1 + n) for n in range(18)]))


def test_more_actions_than_a_state_can_hold_are_refused() -> None:
    """A state keeps the action of a click in one byte."""
    assert len(Vocabulary.of(with_actions(255), hashed=4).actions) == 255
    with pytest.raises(
        DatasetError,
        match=r"256 different actions, such as \['a0', 'a1', 'a2'\]; a model takes 255",
    ):
        by_time(with_actions(256))


def test_span_and_actions_are_told() -> None:
    """A wrong unit shows as a wrong year."""
    log = cyclic_log()
    assert (
        overview.time_span(log)
        == "first click 1970-01-01 00:01 UTC, last click 1970-01-01 06:00 UTC"
    )
    assert overview.actions(log) == "actions: click 360"
    assert overview.actions(with_actions(12)).endswith("a7 1 and 4 more")


def test_a_file_is_told_at_a_glance(tmp_path: Path) -> None:
    """Users, items, clicks, span, actions, and what was left out;
    names in brackets are no markup.
    """
    now = 1_764_300_000_000
    (tmp_path / "log.csv").write_text(
        f"user,item,time,action\na,x,{now},[b]\n,x,{now},\na,y,{now + DAY_MS},\n"
    )
    console = Console(file=io.StringIO(), width=60)
    log = commands.read_log(
        "file", path=tmp_path / "log.csv", cache=None, fields=None, time_unit="ms", console=console
    )
    commands.looked_at(log, console)
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert told[:3] == [
        "note: 1 rows have no user and are left out, as serving refuses them (first: "
        f"{tmp_path}/log.csv: row 2, column 'user')",
        "file: 1 users, 2 items, 2 events",
        (
            "first click 2025-11-28 03:20 UTC, last click 2025-11-29 03:20 UTC; actions: [b] 1, "
            "click 1"
        ),
    ]
    assert [line[:22] for line in told[3:]] == [
        "- Histories are short:",
        "- 0 % of the clicks ar",
        "- 100 % of the newest ",
        "- 0 % of the users wit",
        "- The log spans 1.0 da",
    ]


def modes(folder: Path) -> set[int]:
    """The permissions of all files."""
    return {file.stat().st_mode & 0o777 for file in folder.iterdir()}


def test_all_files_of_a_model_can_be_read_by_the_same_people(tmp_path: Path) -> None:
    """Weights too, in model and bundle: as the process's umask says."""
    run = train_by_time(
        cyclic_log(), data_set="x", date="d", shape=SHAPE, settings=QUICKER, show_progress=False
    )
    before = os.umask(0o027)
    try:
        run.checkpoint.save(tmp_path / "model")
        publish(run.checkpoint, tmp_path / "bundle")
    finally:
        os.umask(before)
    assert modes(tmp_path / "model") == modes(tmp_path / "bundle") == {0o640}
