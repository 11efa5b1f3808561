"""Many seeds on several processes, and what to do with one that fails:
find the faults that it takes.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from model.bundle.bundle import Bundle
from tests.actors.click_log import bundle
from tests.simulation.faults import Scenario
from tests.simulation.run import Outcome, run

WORKERS = 2
SEEDS_PER_CALL = 5
SHRINK_RUNS_MAX = 60


@functools.cache
def arms() -> dict[str, Bundle]:
    """The models that every run serves, made once a process."""
    return {"main": bundle(0), "other": bundle(1)}


def run_seed(seed: int) -> Outcome:
    """One seed's scenario."""
    return run(Scenario.of(seed), arms())


def sweep(seeds: Sequence[int], workers: int = WORKERS) -> Iterator[Outcome]:
    """The outcome of every seed, as they come."""
    parts = iter([seeds[at : at + SEEDS_PER_CALL] for at in range(0, len(seeds), SEEDS_PER_CALL)])
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: set[Future[list[Outcome]]] = set()
        try:
            while True:
                while len(running) < 2 * workers and (part := next(parts, None)) is not None:
                    running.add(pool.submit(_run_seeds, part))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _run_seeds(seeds: Sequence[int]) -> list[Outcome]:
    """Rubbish is collected once, in the end:
    the collector would look at all modules again and again.
    """
    arms()
    gc.freeze()
    gc.disable()
    try:
        return [run_seed(seed) for seed in seeds]
    finally:
        gc.enable()
        gc.collect()


def only(scenario: Scenario, numbers: Sequence[int]) -> Scenario:
    """The scenario with these of its faults alone, by their places in its list."""
    return dataclasses.replace(
        scenario, faults=tuple(scenario.faults[number] for number in numbers)
    )


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool]) -> list[int]:
    """The places of a few faults with which it still fails; leaves out halves,
    then quarters, down to single ones.
    """
    kept = list(range(len(scenario.faults)))
    runs = 0
    size = max(1, len(kept) // 2)
    while kept and runs < SHRINK_RUNS_MAX:
        shorter = False
        for at in range(0, len(kept), size):
            fewer = kept[:at] + kept[at + size :]
            runs += 1
            if fails(only(scenario, fewer)):
                kept = fewer
                shorter = True
                break
        if not shorter:
            if size == 1:
                break
            size = max(1, size // 2)
    return kept


def explain(outcome: Outcome) -> str:
    """What failed, the faults that it takes, and how to see it again."""
    scenario = outcome.scenario
    kept = shrink(scenario, lambda fewer: run(fewer, arms()).violation is not None)
    again = run(only(scenario, kept), arms())
    lines = [
        f"seed {scenario.seed} fails: {outcome.violation}",
        f"with {len(kept)} of its {len(scenario.faults)} faults: {again.violation}",
        *(f"  #{number:<2} {scenario.faults[number]}" for number in kept),
        f"run it again: python -m tests.simulation --seed {scenario.seed} --keep "
        f"{','.join(map(str, kept)) or 'none'} --trace",
    ]
    return "\n".join(lines)
