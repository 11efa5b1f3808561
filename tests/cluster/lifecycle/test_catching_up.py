"""How far catching up is, in words."""

from __future__ import annotations

import pytest

from cluster.lifecycle.catching_up import WINDOW_S, CatchingUp, span


def test_rate_and_time_left_are_those_of_the_last_minute() -> None:
    """What was slow before, while processes started, is forgotten."""
    progress = CatchingUp()
    first = progress.line(0.0, {0: 3_000_000, 1: 1_000_000}, [0, 1])
    assert first == (
        "Catching up: 4,000,000 records behind; 2 partitions not ready: 0 (3,000,000), 1 "
        "(1,000,000). Answers say stale until then."
    )
    progress.line(WINDOW_S, {0: 3_000_000, 1: 1_000_000}, [0, 1])
    line = progress.line(2 * WINDOW_S, {0: 2_400_000, 1: 0}, [0])
    assert "2,400,000 records behind; 26,667 fewer a second; about 1 min 30 s left" in line
    assert "1 partition not ready: 0 (2,400,000)." in line


@pytest.mark.parametrize(
    ("behind", "words"),
    [({0: 1000}, "not getting fewer"), ({0: 2000}, "100 more a second"), ({}, "not known yet")],
)
def test_a_backlog_that_does_not_shrink_has_no_end(behind: dict[int, int], words: str) -> None:
    """More clicks come than are folded, or none is; or nobody measures it yet."""
    progress = CatchingUp()
    progress.line(0.0, {0: 1000}, [0])
    line = progress.line(10.0, behind, [0])
    assert words in line
    assert "left" not in line


def test_the_farthest_partitions_are_named() -> None:
    """Five of them, and how many more; one that nobody reads yet restores."""
    line = CatchingUp().line(0.0, {p: 10 * p for p in range(1, 9)}, range(9))
    assert "9 partitions not ready: 8 (80), 7 (70), 6 (60), 5 (50), 4 (40) and 4 more" in line
    assert "0 (restoring)" in CatchingUp().line(0.0, {1: 5}, [0, 1])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (59.0, "59 s"),
        (60.0, "1 min 0 s"),
        (3_700.0, "1 h 1 min"),
        (200_000.0, "2 d 7 h"),
    ],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    """Two units say enough."""
    assert span(seconds) == words
