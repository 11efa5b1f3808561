"""The benchmarks measure what they say, on a small scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.progress import Progress

from bench import echo, fold, recovery, replay, report, snapshot, stored, untrained
from bench.load import Ghz, PythonClient, choose, parse_ghz
from rpc.echorank_pb2 import ScoreRequest, ScoreResponse

TINY = fold.Sizes(events=300, users=20, items=50, repeats=2, torch_steps=2)
GHZ_OUTPUT = {
    "count": 10,
    "total": 2_000_000_000,
    "latencyDistribution": [
        {"percentage": 50, "latency": 1_500_000},
        {"percentage": 99, "latency": 9_000_000},
    ],
    "statusCodeDistribution": {"OK": 8, "Unavailable": 2},
    "errorDistribution": {"shard-1 is restoring": 2},
}


def test_fold_report_has_its_figures() -> None:
    """The report holds rates above zero for every way,
    and bytes of a user that cover at least the state.
    """
    rates, store = fold.measure(TINY, Progress(disable=True))
    found = fold.figures(rates, store, TINY, quick=True)
    for name in ("events_per_s", "store_events_per_s", "torch_events_per_s", "ratio_to_torch"):
        assert isinstance(found[name], int | float)
        assert found[name] > 0, name
    assert store.position == TINY.events * (TINY.repeats + 1)
    assert store.users == TINY.users
    assert found["bytes_per_user"] >= store.bundle.layout.row_bytes
    assert "2 repeats of 300 events" in fold.markdown(found)


def test_replay_report_has_its_figures(tmp_path: Path) -> None:
    """Archive and log give the same states; the report holds rates above zero for every way."""
    sizes = replay.Sizes(clicks=300, users=20, items=50, repeats=2)
    rates, digests = replay.measure(sizes, tmp_path, Progress(disable=True))
    found = replay.figures(rates, digests, sizes, quick=True)
    assert len(digests) == 1
    for name in (
        "archive_events_per_s",
        "archive_events_per_cpu_s",
        "log_events_per_s",
        "log_events_per_cpu_s",
    ):
        assert isinstance(found[name], int)
        assert found[name] > 0, name
    assert "2 repeats of 300 clicks of 20 users" in replay.markdown(found)


def test_spread_is_the_median_and_the_ends() -> None:
    """An outlier moves an end and not the middle."""
    assert report.Spread.of([3.0, 1.0, 100.0]) == (3.0, 1.0, 100.0)


def test_echo_answers_as_many_probabilities_as_asked() -> None:
    """The floor's answers have the size of real ones."""
    assert len(ScoreResponse.FromString(echo.answer(500)).probabilities) == 500


def test_python_client_counts_its_requests() -> None:
    """Against the echo server every request succeeds,
    and the median is no larger than the 99th percentile.
    """
    with echo.running(3) as address:
        load = PythonClient().run(
            address, [ScoreRequest(user="u", items=["a", "b", "c"])], concurrency=2, seconds=0.2
        )
    assert load.errors == 0
    assert load.requests > 2
    assert 0 < load.p50_ms <= load.p99_ms


def test_ghz_output_is_read_in_milliseconds() -> None:
    """Nanoseconds become milliseconds, and only answers that are OK count for the rate."""
    assert parse_ghz(json.dumps(GHZ_OUTPUT)) == (4.0, 1.5, 9.0, 10, 2)


def test_ghz_without_a_success_says_why() -> None:
    """When every request failed, the error carries what the server said."""
    failed = GHZ_OUTPUT | {
        "statusCodeDistribution": {"Unavailable": 10},
        "latencyDistribution": None,
    }
    with pytest.raises(RuntimeError, match="shard-1 is restoring"):
        parse_ghz(json.dumps(failed))


def test_ghz_is_taken_from_the_environment(tmp_path: Path) -> None:
    """$GHZ names the generator where PATH has none; its version becomes the client's name."""
    binary = tmp_path / "ghz"
    binary.write_text("#!/bin/sh\necho 9.9\n")
    binary.chmod(0o755)
    driver = choose({"PATH": "/nowhere", "GHZ": str(binary)})
    assert isinstance(driver, Ghz)
    assert driver.name == "ghz 9.9"


def test_recovery_is_measured_on_equal_states(tmp_path: Path) -> None:
    """A row has bytes and times above zero, and the restored states are those that were saved."""
    row = recovery.measure(400, 2, untrained.bundle(stored.ITEMS), tmp_path)
    assert row["byte_equal"] is True
    assert row["users"] == 400
    assert row["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.arrow"))
    assert set(row) >= {"users", "bytes", "restore_s", "predicted_s"}
    assert "| 400 |" in recovery.markdown([row], 2, {})


def test_snapshots_are_measured_beside_folding(tmp_path: Path) -> None:
    """A row has snapshots, their pauses and both rates."""
    often = replace(stored.SETTINGS, snapshot_interval_s=0.5)
    row = snapshot.measure(400, untrained.bundle(stored.ITEMS), tmp_path, often, 0.0)
    for name in ("events_per_s", "events_per_s_beside", "pieces", "pause_ms_max"):
        assert float(str(row[name])) > 0, name
    assert list(tmp_path.rglob("*.manifest.json"))
    assert "| 400 |" in snapshot.markdown([row], {})
