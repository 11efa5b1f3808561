"""The click-through study from the command line to the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.accuracy import rows
from bench.accuracy.__main__ import app
from bench.accuracy.ctr import study as ctr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A label log as CSV: 12 users, 40 events each, no categories."""
    random = np.random.default_rng(0)
    lines = ["uid,thing,at,label"]
    lines += [
        f"u{user},i{random.integers(9)},"
        f"{1_700_000_000 + 60 * (12 * step + user)},{random.integers(2)}"
        for step in range(40)
        for user in range(12)
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _run(log: Path, out: Path, *more: str, code: int = 0) -> str:
    columns = [f"--column={pair}" for pair in ("user=uid", "item=thing", "time=at", "rating=label")]
    command = [
        "ctr",
        "--data",
        "file",
        "--path",
        str(log),
        *columns,
        "--time-unit",
        "s",
        "--label-from",
        "1",
    ]
    sizes = [
        "--history-min",
        "10",
        "--length",
        "20",
        "--epochs",
        "1",
        "--train",
        "50",
        "--test",
        "30",
        "--out",
    ]
    done = CliRunner().invoke(app, [*command, *sizes, str(out), *more], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_a_run_adds_its_row_and_all_models_go_on_from_there(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model gives one row; `all` passes over it,
    and over what needs categories, and adds the others.
    """
    few = ("mean", "sim-hard", "lrea", "streaming")
    monkeypatch.setattr(ctr, "METHODS", {name: ctr.METHODS[name] for name in few})
    out = tmp_path / "accuracy.json"
    _run(log, out, "--model", "streaming")
    (row,) = rows.read(out)
    assert (row["task"], row["model"], row["dataset"]) == (
        "ctr",
        "streaming",
        "file, histories 10 to 20",
    )
    assert row["multiply_adds"] == 2 * (4 + 16) * 32
    assert row["state_bytes"] == 4 * 4 * 33 + 96
    assert row["intervals"]["auc"][0] <= row["auc"] <= row["intervals"]["auc"][1]
    said = _run(log, out, "--model", "all")
    assert "streaming: there already" in said
    assert "sim-hard: left out" in said
    assert [row["model"] for row in rows.read(out)] == ["lrea", "mean", "streaming"]


def test_what_cannot_be_compared_is_refused(log: Path, tmp_path: Path) -> None:
    """A search by category without categories, and a unit that does not exist,
    are errors and write nothing.
    """
    out = tmp_path / "accuracy.json"
    _run(log, out, "--model", "sim-hard", code=2)
    _run(log, out, "--time-unit", "days", code=2)
    assert rows.read(out) == []
