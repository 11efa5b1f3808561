"""An arm that is added while clicks flow: it begins at the log's start,
and the other one goes on meanwhile.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from actors.shard.roles import Feed
from tests.simulation.faults import Scenario
from tests.simulation.run import play
from tests.simulation.runner import arms, explain, only, sweep
from tests.simulation.world import World

SEEDS = 40  # about a quarter of all have a new arm
QUIET = dataclasses.replace(only(Scenario.of(3), []), arms=1, new_arm_s=3.9, events=250)


def test_a_new_arm_ends_as_an_uninterrupted_run_does() -> None:
    """Under drawn faults, byte for byte, in both arms."""
    seeds = [seed for seed in range(SEEDS) if Scenario.of(seed).new_arm_s]
    failed = [outcome for outcome in sweep(seeds) if outcome.violation]
    assert len(seeds) > 5
    assert not failed, "\n".join(map(explain, failed[:3]))


def test_the_other_arm_goes_on_while_nobody_feeds_the_new_one() -> None:
    """Without a reader for it the new arm stays at the start;
    every click reaches the arm that is there.
    """
    run = World(QUIET, arms(), None)
    ask = run.ray.ask

    def ask_for_the_front(actor: str, method: str, args: tuple[Any, ...]) -> Any:
        if Feed.BEHIND in args:
            raise ValueError("nobody answers who reads for arms behind the front in this test")
        return ask(actor, method, args)

    run.ray.ask = ask_for_the_front  # type: ignore[method-assign]
    outcome = play(run, healed_within_s=3.0)
    assert "not settled" in (outcome.violation or "")
    found = {}
    for shard in run.invariants.shards.values():
        for partition, held in shard._held.items():
            assert held.stores is not None
            found[partition] = {arm: store.position for arm, store in held.stores.items()}
    assert {partition: at["main"] for partition, at in found.items()} == {
        partition: log.length for partition, log in enumerate(run.topic.partitions)
    }
    assert all(at["other"] < at["main"] for at in found.values())


def test_it_catches_up_without_faults() -> None:
    """Both arms reach the log's end."""
    assert play(World(QUIET, arms(), None)).violation is None
