"""What answers are worth by how many events came before."""

from __future__ import annotations

import numpy as np

from training.data.sequences import Histories
from training.pilot.assessment import BUNDLE, FLOAT, LAST, POPULAR, by_length
from training.pilot.questions import Questions

LENGTHS = np.array([1, 2, 3, 4, 9, 29, 30, 250])


def asked_after(lengths: np.ndarray) -> Questions:
    """One user and one question for each number of events before it."""
    starts = np.concatenate([[0], np.cumsum(lengths + 1)])
    nothing = np.zeros(starts[-1], dtype=np.int64)
    return Questions(
        histories=Histories(
            users=tuple(map(str, range(len(lengths)))),
            items=nothing,
            actions=nothing,
            times_ms=nothing,
            starts=starts,
        ),
        targets=starts[1:] - 1,
        candidates=np.zeros((len(lengths), 2), dtype=np.int64),
    )


def test_questions_are_grouped_by_the_events_before_them() -> None:
    """A first, a second click have groups of their own; each figure is of its group's questions;
    the best simple method is one for all groups, and never the bundle itself.
    """
    worth = {BUNDLE: LENGTHS / 500, FLOAT: LENGTHS / 400, POPULAR: LENGTHS / 1000}
    worth |= {LAST: LENGTHS[::-1] / 900}
    values = {name: {"ndcg10": found} for name, found in worth.items()}
    groups = by_length(asked_after(LENGTHS), values, seed=0)
    assert [(group.label, group.count) for group in groups] == [
        ("1", 1),
        ("2", 1),
        ("3 to 4", 2),
        ("5 to 9", 1),
        ("10 to 29", 1),
        ("30 to 99", 1),
        ("100 or more", 1),
    ]
    assert [group.ndcg10.value for group in groups[:3]] == [1 / 500, 2 / 500, 3.5 / 500]
    assert {group.simple for group in groups} == {LAST}
    assert groups[0].best_simple.value == 250 / 900
    assert groups[0].popularity.value == 1 / 1000
