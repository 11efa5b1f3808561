"""Everything that a seed decides beforehand: the size of the system,
its clicks, and the faults, as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

# what begins then may last for
FAULTS_BEGIN_S = 0.4
FAULTS_END_S = 4.0
LASTS_MAX_S = 2.0
NODES = 2  # that take shards; the others are on one that does not end


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, when, to whom, how much and for how long;
    what `amount` means depends on the kind.
    """

    at_s: float
    kind: str
    target: str = ""
    amount: float = 0.0
    lasts_s: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.lasts_s:.2f} s" if self.lasts_s else ""
        return f"{self.at_s:6.3f} s  {self.kind} {self.target} {self.amount:g}{lasting}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run of the simulation."""

    seed: int
    partitions: int
    shards: int
    ingests: int
    arms: int
    standbys: int
    users_hot: int  # of each partition and arm, in memory; the others are in the cold tier. 0: all
    users: int
    events: int
    faults: tuple[Fault, ...]
    # when all shards start anew with one more arm, which begins at the log's start; 0: never
    new_arm_s: float = 0.0

    @classmethod
    def of(cls, seed: int) -> Scenario:
        """The scenario of a seed."""
        random = Random(f"scenario {seed}")
        later = Random(f"new arm {seed}")
        partitions = random.randint(2, 4)
        shards = random.randint(2, 3)
        ingests = random.randint(1, 2)
        arms = random.choice([1, 1, 2])
        return cls(
            seed=seed,
            partitions=partitions,
            shards=shards,
            ingests=ingests,
            arms=arms,
            standbys=random.randint(0, 1),
            users_hot=random.choice([0, 0, 2]),
            users=random.randint(8, 24),
            events=random.randint(100, 250),
            faults=_faults(random, partitions, _names(shards, ingests)),
            new_arm_s=later.uniform(FAULTS_BEGIN_S, FAULTS_END_S)
            if arms == 1 and later.random() < 0.5
            else 0.0,
        )

    def names(self) -> list[str]:
        """The actors, in the order of starting."""
        return _names(self.shards, self.ingests)


def _names(shards: int, ingests: int) -> list[str]:
    numbered = [f"shard-{n}" for n in range(shards)] + [f"ingest-{n}" for n in range(ingests)]
    return ["coordinator", *numbered, "archive", "gateway"]


def _faults(random: Random, partitions: int, names: list[str]) -> tuple[Fault, ...]:
    """Between 3 and 12 faults, those of shards most often."""
    shards = [name for name in names if name.startswith("shard")]
    drawn = []
    for _ in range(random.randint(3, 12)):
        at_s = random.uniform(FAULTS_BEGIN_S, FAULTS_END_S)
        lasts_s = random.uniform(0.2, LASTS_MAX_S)
        victim = random.choice([*names, *shards, *shards])
        partition = str(random.randrange(partitions))
        steps = random.choice([0, random.randrange(5), random.randrange(40)])
        drawn.append(
            random.choice(
                [
                    Fault(at_s, "crash", victim, steps),
                    Fault(at_s, "crash", victim, steps),
                    Fault(at_s, "pause", victim, steps, lasts_s),
                    Fault(at_s, "zombie", victim, steps, lasts_s),
                    Fault(at_s, "cut", random.choice(names), 0, lasts_s),
                    Fault(at_s, "cut", f"{victim} {random.choice(names)}", 0, lasts_s),
                    Fault(at_s, "loss", "network", random.choice([0.02, 0.2]), lasts_s),
                    Fault(at_s, "doubling", "network", 0.2, lasts_s),
                    Fault(at_s, "late", "network", 0.3, lasts_s),
                    Fault(at_s, "full", "disk", 1, lasts_s),
                    Fault(at_s, "slowness", "disk", random.choice([10, 100]), lasts_s),
                    Fault(at_s, "unreadable", "disk", 1, lasts_s),
                    Fault(at_s, "flip", partition, random.randrange(3)),
                    Fault(at_s, "tear", partition, random.randrange(3)),
                    Fault(at_s, "power", "all", 0),
                    Fault(at_s, "node", "one", random.randrange(NODES), lasts_s),
                    Fault(at_s, "away", "kafka", 1, lasts_s),
                    Fault(at_s, "retention", partition, random.random()),
                    Fault(at_s, "scale", "shards", random.randint(1, partitions)),
                    Fault(at_s, "scale", "shards", random.randint(1, partitions)),
                    Fault(at_s, "erase", f"user-{random.randrange(8)}"),
                    Fault(at_s, "drain", random.choice(shards)),
                    Fault(at_s, "clock", victim, random.choice([-30, -0.1, 0.1, 30]) * 86_400_000),
                ]
            )
        )
    return tuple(sorted(drawn, key=lambda fault: fault.at_s))
