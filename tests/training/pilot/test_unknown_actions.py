"""Clicks with actions that a bundle does not know are passed over in
evaluation as they are when serving.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from actors.clicks.click import ClickBatch, key
from actors.clock import SystemClock
from actors.state.store import PartitionStore
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from tests.training.logs import cyclic_log
from training.data.clicklog import ClickLog
from training.data.sequences import UNKNOWN, Histories, Vocabulary
from training.errors import DatasetError
from training.measure.served import walk
from training.pilot.assessment import compare
from training.pilot.questions import answer, ask, hold_out, vocabulary_of

CONFIG = ModelConfig(width=32, expand=2, state_size=4, ring_length=8, tail_length=16, slots=4)
ITEMS = tuple(f"item-{number}" for number in range(12))


def mixed(*names: str) -> ClickLog:
    """A log whose clicks have these actions in turn."""
    log = cyclic_log()
    turns = np.arange(len(log)) % len(names)
    return dataclasses.replace(log, actions=np.array(names, dtype=object)[turns])


def bundle(*actions: str) -> Bundle:
    """An untrained bundle that knows these actions."""
    return random_bundle(dataclasses.replace(CONFIG, actions=actions), ITEMS)


def served(model: Bundle, log: ClickLog, user: str) -> np.ndarray | None:
    """The user's state once a shard's store has folded the log,
    an event's place in it being its offset.
    """
    columns = {
        name: np.array([key(text) for text in texts], dtype=np.uint64)
        for name, texts in (("users", log.users), ("items", log.items), ("actions", log.actions))
    }
    times = log.times_ms
    batch = ClickBatch(
        partition=0,
        start=0,
        stop=len(log),
        offsets=np.arange(len(log)),
        times_ms=times,
        record_ms=times,
        **columns,
    )
    store = PartitionStore(model, users_initial=1, bytes_per_user_max=1 << 20, clock=SystemClock())
    store.fold(batch)
    return store.row(key(user))


def test_a_vocabulary_numbers_actions_as_a_bundle_does() -> None:
    """Known ones by place, nameless ones as clicks, others not at all."""
    vocabulary = Vocabulary.of(mixed("view", "view", "", "buy", "click"), hashed=8)
    # most used first, equal ones as they come
    assert vocabulary.actions == ("view", "click", "buy")
    names = np.array(["view", "", "click", "buy", "order_refunded"], dtype=object)
    assert vocabulary.action_ids(names).tolist() == [0, 1, 1, 2, UNKNOWN]
    old = dataclasses.replace(vocabulary, actions=("view", ""))
    assert old.action_ids(names).tolist() == [0, 1, 1, UNKNOWN, UNKNOWN]


def test_the_walk_folds_what_a_shard_folds() -> None:
    """The states that questions are put to are those that a store has
    after the same log, byte for byte.
    """
    model = bundle("view", "buy")
    log = mixed("view", "buy", "order_refunded")
    log = log.take(np.lexsort((log.times_ms, np.array([int(user[5:]) for user in log.users]))))
    histories = Histories.of(log, vocabulary_of(model))
    for target, row in walk(model, histories, histories.starts[1:4] - 1):
        state = served(model, log.rows(0, target), str(log.users[target]))
        assert state is not None
        assert np.array_equal(row, state)


def test_clicks_that_the_bundle_would_pass_over_are_no_questions() -> None:
    """They are neither history nor asked about; the report says how many there are, and of what."""
    model = bundle("view", "buy")
    log = mixed("view", "buy", "order_refunded")
    held = hold_out(log, model, {}, by_time=True)
    assert (
        "120 of 360 clicks have actions that the bundle does not know ('order_refunded')"
        in held.split
    )
    assert len(held.log) == 240
    assert (held.held.histories.actions != UNKNOWN).all()
    with pytest.raises(DatasetError, match="folds none of these; it knows 'view', 'buy'"):
        hold_out(mixed("order_refunded"), model, {}, by_time=True)


def test_bundles_with_different_actions_are_compared_on_the_same_questions() -> None:
    """Each folds what it knows of the clicks before a question."""
    own = bundle("view", "buy")
    other = bundle("view")
    log = mixed("view", "buy")
    held = hold_out(log, own, {}, by_time=True)
    asked = ask(held.held, len(ITEMS), count_max=20)
    found = compare(asked, answer(own, asked), held.log, own, other)
    assert found.count == len(asked.targets)
