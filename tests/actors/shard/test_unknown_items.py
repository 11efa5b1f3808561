"""A model of another shop is noticed by its first clicks: in the log, and in the counts."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from actors.shard.unknown_items import EVENTS_MIN, Known, UnknownItems
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from monitoring.metrics import Metrics


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Of two items."""
    return random_bundle(ModelConfig(), ("film 1", "film 2"))


@pytest.fixture
def counts(bundle: Bundle) -> UnknownItems:
    """Of two arms."""
    return UnknownItems(Metrics(CollectorRegistry()), {"main": bundle, "other": bundle})


def test_the_log_names_arm_share_and_what_to_do(
    counts: UnknownItems, caplog: pytest.LogCaptureFixture
) -> None:
    """After the first few hundred clicks, then after ten times as many,
    and only for the arm concerned.
    """
    for _ in range(20):
        counts.count("main", 100, 99)
        counts.count("other", 100, 1)
    first, second = (
        record.message for record in caplog.records if record.levelno == logging.WARNING
    )
    assert first.startswith(
        "arm main: 198 of 200 clicks (99%) are on items that its model does not know"
    )
    assert "it knows 2, such as 'film 1'" in first
    assert "train one on these clicks" in first
    assert second.startswith("arm main: 1,980 of 2,000 clicks")


@pytest.mark.parametrize(
    ("events", "unknown", "speaks"),
    [
        (0, 0, False),
        (EVENTS_MIN - 1, EVENTS_MIN - 1, False),
        (EVENTS_MIN, EVENTS_MIN, True),
        (1000, 200, False),
        (1000, 201, True),
        (1, 0, False),
    ],
)
def test_a_few_new_items_are_no_matter(events: int, unknown: int, speaks: bool) -> None:
    """A fifth is allowed, and a few clicks prove nothing."""
    assert bool(Known(events, unknown).complaint("main")) == speaks


def test_one_large_batch_speaks_once(
    counts: UnknownItems, caplog: pytest.LogCaptureFixture
) -> None:
    """A replay that starts with thousands of clicks is one line, not one for each power of ten."""
    counts.count("main", 50_000, 50_000)
    counts.count("main", 1, 1)
    assert len(caplog.records) == 1
