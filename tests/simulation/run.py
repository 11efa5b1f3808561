"""One run, from start to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.bundle.bundle import Bundle
from tests.simulation.faults import FAULTS_END_S, LASTS_MAX_S, Scenario
from tests.simulation.operator import Operator
from tests.simulation.reader import Reader
from tests.simulation.simulated.loop import Process, start_soon
from tests.simulation.simulated.trace import Echo
from tests.simulation.strikes import strike
from tests.simulation.world import World

HEALED_WITHIN_S = 60.0  # after the last fault everything is read, saved and archived


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    scenario: Scenario
    violation: str | None
    trace: str  # digest of everything that happened
    steps: int
    reads: int
    ended_s: float  # virtual


def run(scenario: Scenario, arms: Mapping[str, Bundle], echo: Echo | None = None) -> Outcome:
    """Start everything, let the faults strike, wait until all is well, compare."""
    return play(World(scenario, arms, echo))


def play(world: World, healed_within_s: float = HEALED_WITHIN_S) -> Outcome:
    """The run of a world that was made before."""
    scenario = world.scenario
    operator = Operator(world)
    reader = Process("reader", 0, world.random("reader"))
    with world.trace.logged():
        world.world.context.run(world.start_all)
        start_soon(world.loop, reader, Reader(world).run())
        for fault in scenario.faults:
            world.later(fault.at_s, lambda fault=fault: strike(world, operator, fault))
        if scenario.new_arm_s:
            world.later(scenario.new_arm_s, world.add_arm)
        world.until(FAULTS_END_S + LASTS_MAX_S)
        world.heal()
        if (
            not world.until(world.loop.time() + healed_within_s, world.settled)
            and not world.trace.violation
        ):
            world.trace.fail(
                f"not settled {healed_within_s:g} s after the last fault: {world.unsettled()}"
            )
        if not world.trace.violation:
            world.compare()
        for process in (*world.processes, reader, operator.process, world.world):
            process.alive = False
        world.loop.dispose()
    return Outcome(
        scenario=scenario,
        violation=world.trace.violation,
        trace=world.trace.digest,
        steps=world.steps,
        reads=world.invariants.reads,
        ended_s=world.loop.time(),
    )
