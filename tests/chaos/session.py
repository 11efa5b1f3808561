"""Fault after fault on a running system under load, with a reckoning after each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from actors.errors import EchoRankError, ShardUnavailable
from tests.chaos import audit, recovery
from tests.chaos.clicks import Clicks
from tests.chaos.faults import FAULTS, Wound, schedule
from tests.chaos.questions import Asked, Questions, longest_silence_s
from tests.chaos.recovery import NotRecovered
from tests.chaos.stage import ARM, Stage

LIFT_S = 10.0
RESTART = "restart"  # the last row: everything stopped and started again


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do; the same seed strikes the same victims in the same order."""

    faults: tuple[str, ...]  # in order
    seed: int = 0
    clicks_per_s: float = 300.0
    lasts_s: float = 30.0  # how long a process is stopped, a disk full or slow
    calm_s: float = 2.0  # load without a fault before each
    recovered_within_s: float = 90.0
    restart: bool = True  # stop and start everything at the end

    @classmethod
    def random(cls, kills: int, seed: int, names: Sequence[str], **options: float) -> Plan:
        """`kills` faults of these names, each as often as any other."""
        return cls(
            faults=tuple(schedule(list(names), kills, np.random.default_rng(seed))),
            seed=seed,
            **options,
        )


@dataclass(frozen=True, kw_only=True)
class Struck:
    """One fault and what came of it."""

    kind: str
    what: str
    # of this, until the broker, which is no part of the system, was started again
    repair_s: float | None
    # until every partition's fresh clicks were visible and health was well; None: never
    recovery_s: float | None
    # until every partition's owner had them, and its answers were not flagged
    takeover_s: float | None
    replaced_s: float | None  # until each killed process had a successor that answers
    # since the last repair, until each partition had a standby on another node again
    redundant_s: float | None
    silence_s: float  # the longest time without a good answer
    asked: tuple[Asked, ...]  # while it was disturbed
    refused_attempts: int  # at Score, answered UNAVAILABLE by the gateway
    acknowledged: int  # clicks, since the fault before
    verdict: audit.Verdict | None  # None: it did not get so far
    failure: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the system recovered, and its states are what they must be."""
        return self.failure is None and self.verdict is not None and self.verdict.sound


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A whole session."""

    struck: tuple[Struck, ...]
    asked: tuple[Asked, ...]
    acknowledged: int
    refused: int
    users_cold: int  # at the end on disk, for want of memory
    nodes_given_up: int  # by Ray, though nothing had struck them
    archive: tuple[str, ...]  # in what the archive differs from the log
    seconds: float


class _Moments(NamedTuple):
    """Of the monotonic clock."""

    repaired: float  # what only an operator can start again was there
    recovered: float  # fresh clicks visible, health well
    taken_over: float  # in answers of the owners
    replaced: float  # the killed had successors
    rebuilt: float  # all machines were there again
    healed: float  # nothing was left of the fault


class Session:
    """Load, questions and faults on one stage."""

    def __init__(self, stage: Stage, plan: Plan, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._plan = plan
        self._say = say
        self._random = np.random.default_rng(plan.seed)
        deployment = stage.deployment
        self._partitions = deployment.partitions
        self._paired = bool(deployment.standbys)
        self._log = audit.Log(
            stage.bundle, stage.access, stage.settings.topics.clicks, self._partitions
        )
        self._clicks = Clicks(
            stage.access,
            stage.settings.topics.clicks,
            rate=plan.clicks_per_s,
            users=stage.users,
            items=deployment.items,
            seed=plan.seed,
        )
        self._questions: Questions | None = None
        self._acknowledged = 0

    def run(self) -> Outcome:
        """Everything, up to the first fault whose outcome is not sound."""
        began = time.monotonic()
        struck = list[Struck]()
        with closing(self._clicks), closing(self._ask()) as self._questions:
            for number, kind in enumerate(self._plan.faults, start=1):
                struck.append(self._one(kind))
                passed = f"{number}/{len(self._plan.faults)}, {time.monotonic() - began:.0f} s"
                self._say(f"{passed}: {_line(struck[-1])}")
                if not struck[-1].sound:
                    break
        if self._plan.restart and struck[-1].sound:
            struck.append(self._restart())
            self._say(_line(struck[-1]))
        return Outcome(
            struck=tuple(struck),
            asked=tuple(self._questions.asked),
            acknowledged=len(self._clicks.ledger.places()),
            refused=len(self._clicks.ledger.refused),
            users_cold=self._stage.users_cold() if struck[-1].sound else 0,
            nodes_given_up=self._stage.nodes.given_up,
            archive=self._archive() if struck[-1].sound else (),
            seconds=time.monotonic() - began,
        )

    def _ask(self) -> Questions:
        stage = self._stage
        return Questions(stage.address, stage.users, stage.deployment.items, self._plan.seed)

    def _one(self, kind: str) -> Struck:
        """Calm, strike, recover, heal, reckon."""
        assert self._questions is not None
        self._clicks.resume()
        threading.Event().wait(self._plan.calm_s)  # the calm itself is what is waited for
        attempts = self._stage.unavailable_scores()
        pids = self._stage.system.pids()
        struck_at = time.monotonic()
        wound = FAULTS[kind](self._stage, pids, self._random)
        moments: _Moments | None = None
        verdict = None
        failure = None
        try:
            moments = self._recover(wound, struck_at)
            verdict = self._reckon()
        except (NotRecovered, TimeoutError, EchoRankError) as error:
            failure = str(error)
        healed_at = moments.healed if moments else time.monotonic()
        disturbed = self._questions.between(struck_at, healed_at)
        return Struck(
            kind=kind,
            what=wound.what,
            repair_s=moments.repaired - struck_at if moments and wound.repair else None,
            recovery_s=moments.recovered - struck_at if moments else None,
            takeover_s=moments.taken_over - struck_at if moments else None,
            replaced_s=moments.replaced - struck_at if moments and wound.killed else None,
            redundant_s=moments.healed - moments.rebuilt if moments and self._paired else None,
            silence_s=longest_silence_s(disturbed, struck_at, healed_at),
            asked=tuple(disturbed),
            refused_attempts=_grown(attempts, self._stage.unavailable_scores()) if moments else 0,
            acknowledged=self._newly_acknowledged(),
            verdict=verdict,
            failure=failure,
        )

    def _recover(self, wound: Wound, struck_at: float) -> _Moments:
        lasts_s = max(self._plan.lasts_s * wound.lasts, wound.lasts_min_s)
        lifted = self._lift_later(wound, lasts_s)
        try:
            if wound.repair:
                wound.repair()
            repaired_at = time.monotonic()
            recovered_at, taken_over_at = self._until_well(self._until_bitten(wound, struck_at))
            lasting = {
                name: pid for name, pid in wound.killed.items() if name not in wound.dismissed
            }
            replaced_at = self._until_replaced(lasting)
            if wound.settled:
                self._until(wound.settled, f"{wound.what}: to be done")
        finally:
            # also where it failed: nothing stays stopped or full
            healed = lifted.wait(lasts_s + LIFT_S)
        if not healed:
            raise NotRecovered(f"{wound.what} was not healed {LIFT_S:g} s after its time")
        if wound.check:
            wound.check()
        if wound.rebuild:
            wound.rebuild()
        rebuilt_at = time.monotonic()
        if wound.lift or wound.rebuild:
            self._until_well(rebuilt_at)
        if self._paired:  # else the next fault would strike a partition that has no standby
            self._until(
                self._stage.gateway.redundant, "owners and standbys to be ready on different nodes"
            )
        return _Moments(
            repaired_at, recovered_at, taken_over_at, replaced_at, rebuilt_at, time.monotonic()
        )

    def _lift_later(self, wound: Wound, lasts_s: float) -> threading.Event:
        """End the fault when its time has come, from a thread; the event says that it is over."""
        lifted = threading.Event()
        if wound.lift is None:
            lifted.set()
            return lifted

        def lift() -> None:
            assert wound.lift is not None
            wound.lift()
            lifted.set()

        timer = threading.Timer(lasts_s, lift)
        timer.daemon = True
        timer.start()
        return lifted

    def _until(self, condition: Callable[[], bool], what: str, since: float | None = None) -> float:
        """The moment when a condition holds, in time after `since` or now;
        nodes that Ray gave up are replaced.
        """
        began = time.monotonic() if since is None else since
        return recovery.until(
            condition, what, began + self._plan.recovered_within_s, self._stage.nodes.mend
        )

    def _until_well(self, since: float) -> tuple[float, float]:
        """When clicks sent after `since` were visible and health was well,
        and when owners gave such answers.
        """
        ends = self._clicks.ledger.fresh_since(
            since, self._partitions, self._plan.recovered_within_s
        )
        gateway = self._stage.gateway
        for partition, end in ends.items():
            self._until(
                partial(gateway.shows, partition, end), f"partition {partition} up to {end}", since
            )
        recovered_at = self._until(gateway.serves, "health of the gateway", since)
        for partition, end in ends.items():
            shows = partial(gateway.shows, partition, end, owner=True)
            taken_over_at = self._until(
                shows, f"the owner of partition {partition} up to {end}", since
            )
        return recovered_at, taken_over_at

    def _until_bitten(self, wound: Wound, struck_at: float) -> float:
        """From when on clicks prove something:
        actors outlive their node by a moment, and a silent node for long.
        """
        if wound.doubled:
            return self._until_replaced(wound.doubled)
        if wound.killed:
            return self._until(
                lambda: recovery.ended(wound.killed.values()), f"{wound.what} to end", struck_at
            )
        return struck_at

    def _until_replaced(self, actors: Mapping[str, int]) -> float:
        for name, pid in actors.items():
            self._until(partial(self._replaced, name, pid), f"a successor of {name}, process {pid}")
        return time.monotonic()

    def _replaced(self, name: str, pid: int) -> bool:
        try:
            return self._stage.system.wait_replaced(name, pid) != pid
        except ShardUnavailable:
            return False

    def _reckon(self) -> audit.Verdict:
        """Let everything come to rest, and hold ledger, log and states against each other.

        States are read only once they are complete. Where a partition is taken over or restored
        after that, they are for a moment those of a snapshot again, as their answers say (`stale`);
        so what was found then is no verdict, and everything is asked anew.
        """
        self._clicks.pause()
        system = self._stage.system
        deadline = time.monotonic() + self._plan.recovered_within_s
        while True:
            epochs = system.epochs()
            verdict = self._compare()
            if verdict.sound or system.epochs() == epochs or time.monotonic() > deadline:
                return verdict
            self._say("owners changed during the audit, which begins again")

    def _compare(self) -> audit.Verdict:
        stage = self._stage
        system = self._stage.system
        places = self._clicks.ledger.places()
        ends = self._log.ends()
        self._until(lambda: system.positions() == ends, f"positions to reach {ends}")
        self._log.read(ends)
        return audit.judge(
            acknowledged=places,
            in_log=self._log.numbers,
            clicks_by_user=self._log.clicks,
            events_by_user=audit.events_of(stage.address, stage.users),
            expected=self._log.digests(ARM),
            found=system.digests(),
        )

    def _newly_acknowledged(self) -> int:
        before = self._acknowledged
        self._acknowledged = len(self._clicks.ledger.places())
        return self._acknowledged - before

    def _restart(self) -> Struck:
        """Stop and start everything: the states are now what was saved,
        and must still be what they must be.
        """
        began = time.monotonic()
        self._stage.restart_system()
        serving_at = time.monotonic()
        verdict = self._reckon()
        return Struck(
            kind=RESTART,
            what="everything",
            repair_s=None,
            recovery_s=serving_at - began,
            takeover_s=None,
            replaced_s=None,
            redundant_s=None,
            silence_s=serving_at - began,
            asked=(),
            refused_attempts=0,
            acknowledged=self._newly_acknowledged(),
            verdict=verdict,
        )

    def _archive(self) -> tuple[str, ...]:
        """Differences between archive and log,
        once the archive has had the time to write everything.
        """
        directory = self._stage.settings.archive.directory
        differences: tuple[str, ...] = ("the archive was not read",)

        def complete() -> bool:
            nonlocal differences
            differences = tuple(audit.differences_of_archive(directory, self._log.numbers))
            return not differences

        try:
            self._until(complete, "the archive")
        except NotRecovered:
            return differences
        return ()


def _grown(before: int, after: int) -> int:
    """How much a counter grew; one that is smaller belongs to another process and began at 0."""
    return after - before if after >= before else after


def _line(struck: Struck) -> str:
    verdict = struck.verdict
    recovered = "never" if struck.recovery_s is None else f"{struck.recovery_s:.2f} s"
    errors = sum(each.code != "OK" for each in struck.asked)
    line = f"{struck.kind} ({struck.what}): recovered {recovered}"
    line += "" if struck.takeover_s is None else f", owners answer {struck.takeover_s:.2f} s"
    line += (
        "" if struck.redundant_s is None else f", redundant {struck.redundant_s:.2f} s after repair"
    )
    line += f", {errors} of {len(struck.asked)} questions failed"
    if verdict is not None:
        line += (
            f", acknowledged {verdict.acknowledged}, lost {verdict.lost}, doubled {verdict.doubled}"
        )
        line += "" if verdict.byte_equal else ", BYTES DIFFER"
        line += "".join(f"\n    {difference}" for difference in verdict.differences)
    return line + (f"\n    {struck.failure}" if struck.failure else "")
