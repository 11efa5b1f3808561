"""What a bundle says about the popularity that it answers with."""

from __future__ import annotations

import datetime

import pytest

from model.popularity import DAY_MS, EVER, RECORD, Popularity, popularity_of


@pytest.mark.parametrize("metadata", [{}, {RECORD: None}, {RECORD: {}}])
def test_an_older_bundle_has_no_date(metadata: dict[str, object]) -> None:
    """It answers by the whole log, and nobody calls it old."""
    found = popularity_of(metadata)
    assert found == Popularity()
    assert found.window == EVER
    assert found.until == found.old_from == ""


@pytest.mark.parametrize(("days", "limit"), [(1, 7), (7, 30), (30, 30), (None, 30)])
def test_it_is_old_after_a_month_or_seven_windows(days: int | None, limit: int) -> None:
    """What is popular for a day is old sooner."""
    record = {"window": "w", "days": days, "until_ms": DAY_MS, "own_log": True}
    found = popularity_of({RECORD: record})
    assert found.until == "1970-01-02T00:00:00+00:00"
    old = datetime.datetime.fromisoformat(found.old_from)
    assert old - datetime.datetime.fromisoformat(found.until) == datetime.timedelta(limit)


def test_a_public_data_set_is_never_old() -> None:
    """Its newest click is of another century, which is no news."""
    record = {"window": "w", "days": 7, "until_ms": DAY_MS, "own_log": False}
    assert popularity_of({RECORD: record}).until_ms is None
