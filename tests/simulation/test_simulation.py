"""The whole system from one seed: thousands of ways to fail,
and the states of an uninterrupted run after each.
"""

from __future__ import annotations

import os
import sys
import time

import pytest

from tests.simulation.faults import Fault, Scenario
from tests.simulation.planted import PLANTED
from tests.simulation.run import run
from tests.simulation.runner import arms, explain, only, run_seed, shrink, sweep

SEEDS = int(os.environ.get("SEEDS", "1000"))
FOUND_WITHIN = 50  # seeds


@pytest.mark.timeout(540)
def test_every_seed_ends_as_a_clean_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever fails, nothing is lost or doubled,
    and all states equal those of an uninterrupted run, byte for byte.
    """
    started = time.monotonic()
    failed = [outcome for outcome in sweep(range(SEEDS)) if outcome.violation]
    seconds = time.monotonic() - started
    with capsys.disabled():
        sys.stdout.write(
            f"\n{SEEDS} seeds in {seconds:.0f} s, {SEEDS / seconds:.1f} seeds/s, {len(failed)} "
            "failed\n"
        )
    failed.sort(key=lambda outcome: outcome.scenario.seed)
    assert not failed, f"{[each.scenario.seed for each in failed]}\n" + "\n".join(
        map(explain, failed[:3])
    )


def test_a_seed_decides_everything() -> None:
    """The same seed gives the same trace; another seed another one."""
    first = run_seed(7)
    again = run_seed(7)
    other = run_seed(8)
    assert first == again
    assert first.trace != other.trace


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    """Within a few seeds the simulation finds what is wrong;
    the same seed is fine without the planted fault.
    """
    with PLANTED[name]():
        outcomes = (run_seed(seed) for seed in range(FOUND_WITHIN))
        found = next((outcome for outcome in outcomes if outcome.violation), None)
    assert found is not None, f"{name} was not found within {FOUND_WITHIN} seeds"
    assert run_seed(found.scenario.seed).violation is None


def test_a_failing_seed_says_how_to_see_it_again() -> None:
    """The report has the seed, what is wrong, fewer faults than there were, and the command."""
    with PLANTED["skip_a_range"]():
        found = next(
            outcome for seed in range(FOUND_WITHIN) if (outcome := run_seed(seed)).violation
        )
        text = explain(found)
    seed = found.scenario.seed
    assert f"seed {seed} fails: {found.violation}" in text
    assert f"python -m tests.simulation --seed {seed} --keep " in text


def test_shrinking_keeps_what_it_takes() -> None:
    """Of eight faults the two that fail together are left."""
    faults = tuple(Fault(at_s=number, kind="crash", target="archive") for number in range(8))
    scenario = Scenario(
        seed=1,
        partitions=1,
        shards=1,
        ingests=1,
        arms=1,
        standbys=0,
        users_hot=0,
        users=1,
        events=1,
        faults=faults,
    )
    kept = shrink(scenario, lambda fewer: {1.0, 6.0} <= {fault.at_s for fault in fewer.faults})
    assert kept == [1, 6]


def test_without_faults_nothing_fails() -> None:
    """A quiet run is read, saved and archived to the end, and most questions are answered."""
    outcome = run(only(Scenario.of(3), []), arms())
    assert outcome.violation is None
    assert outcome.reads > 30
