"""The faults, by name: what each strikes, and who heals it when."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cluster.names import shard_name
from tests.chaos.recovery import NotRecovered
from tests.chaos.stage import Stage
from tests.chaos.targets.brokers import OneBroker, SeveralBrokers
from tests.chaos.targets.nodes import SILENT_S

SLOW_S = 0.5  # more for each fsync: a disk under a full queue
# snapshots are due every second, and a sleeper's lease ends later than they fail
DISK_LASTS = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Wound:
    """What a fault leaves to be done."""

    what: str  # was struck
    lasts: float = 1.0  # of the time that faults last in this session
    lasts_min_s: float = 0.0
    # actors that die of it, with their process ids
    killed: Mapping[str, int] = field(default_factory=dict)
    # actors that live on while others take their names
    doubled: Mapping[str, int] = field(default_factory=dict)
    dismissed: frozenset[str] = frozenset()  # actors that end for good: nobody takes their names
    repair: Callable[[], None] | None = None  # at once: by who runs the machine
    lift: Callable[[], None] | None = None  # when the fault has lasted as long as it is to
    settled: Callable[[], bool] | None = None  # whether what was asked of the system is done
    rebuild: Callable[[], None] | None = None  # once the system works again without it
    check: Callable[[], None] | None = None  # NotRecovered if the fault did not bite


# by actor, as they were before the first blow: who is struck does not answer
Pids = Mapping[str, int]
Strike = Callable[[Stage, Pids, np.random.Generator], Wound]


def kill(role: str) -> Strike:
    """SIGKILL of an actor's process."""

    def strike(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
        name, pid = _victim(pids, random, role)
        os.kill(pid, signal.SIGKILL)
        return Wound(what=name, killed={name: pid})

    return strike


def stop(role: str) -> Strike:
    """SIGSTOP of an actor's process, which wakes later and knows nothing of it."""

    def strike(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
        name, pid = _victim(pids, random, role)
        os.kill(pid, signal.SIGSTOP)
        return Wound(what=name, lift=lambda: _wake(pid))

    return strike


def kill_node(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """SIGKILL of everything on a node; another node takes its place later."""
    number, killed = _node(stage, pids, random)
    stage.nodes.kill(number)
    return Wound(what=f"node {number}", killed=killed, rebuild=lambda: stage.nodes.replace(number))


def kill_raylet(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """SIGKILL of a node's raylet, whose actors soon notice and end;
    another node takes its place later.
    """
    number, killed = _node(stage, pids, random)
    stage.nodes.kill_raylet(number)
    return Wound(what=f"node {number}", killed=killed, rebuild=lambda: stage.nodes.replace(number))


def stop_node(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """SIGSTOP of a node's raylet: the cluster gives the node up,
    while its actors work on and are doubled elsewhere.
    """
    number, doubled = _node(stage, pids, random)
    stage.nodes.stop(number)
    return Wound(
        what=f"node {number}",
        doubled=doubled,
        lasts_min_s=SILENT_S,
        lift=lambda: stage.nodes.wake(number),
        rebuild=lambda: stage.nodes.replace(number),
    )


def kill_broker(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """SIGKILL of the only broker, which is started again at once."""
    del pids, random
    kafka = stage.kafka
    assert isinstance(kafka, OneBroker)
    kafka.kill()
    return Wound(what="broker", repair=kafka.restart)


def kill_leader(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """SIGKILL of one of several brokers, which leads a partition at least; it comes back later."""
    del pids
    kafka = stage.kafka
    topic = stage.settings.topics.clicks
    assert isinstance(kafka, SeveralBrokers)
    leader = kafka.kill_leader(topic, int(random.integers(stage.deployment.partitions)))
    return Wound(what=f"broker {leader}", rebuild=lambda: kafka.start(leader, topic))


def scale(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """One shard more or one less, and back again once it is done."""
    del pids
    usual = stage.deployment.shards
    wanted = usual + int(random.choice([-1, 1] if usual > 1 else [1]))
    stage.gateway.scaled(wanted)
    return Wound(
        what=f"{usual} to {wanted} shards",
        dismissed=frozenset(shard_name(number) for number in range(wanted, usual)),
        settled=lambda: stage.gateway.scaled(wanted),
        rebuild=stage.scale_back,
    )


def fill_disk(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """No byte is free where snapshots, the assignment and the archive are written."""
    del pids, random
    before = stage.failed_writes()
    stage.small_disk.fill()

    def check() -> None:
        after = stage.failed_writes()
        if not any(failed > before.get(shard, 0) for shard, failed in after.items()):
            raise NotRecovered("the disk was full, but no write failed: the fault did not bite")

    return Wound(what="disk", lasts=DISK_LASTS, lift=stage.small_disk.free, check=check)


def slow_disk(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
    """Every fsync of every actor takes SLOW_S longer."""
    del pids, random
    before = stage.slow_disk.delayed()
    stage.slow_disk.slow(SLOW_S)

    def check() -> None:
        if stage.slow_disk.delayed() <= before:
            raise NotRecovered(
                "the disk was slow, but nobody waited for it: the fault did not bite"
            )

    return Wound(what="disk", lasts=DISK_LASTS, lift=stage.slow_disk.normal, check=check)


def both(first: Strike, second: Strike) -> Strike:
    """Two faults at the same time."""

    def strike(stage: Stage, pids: Pids, random: np.random.Generator) -> Wound:
        wounds = [first(stage, pids, random), second(stage, pids, random)]
        return Wound(
            what=" and ".join(wound.what for wound in wounds),
            lasts_min_s=max(wound.lasts_min_s for wound in wounds),
            killed={name: pid for wound in wounds for name, pid in wound.killed.items()},
            doubled={name: pid for wound in wounds for name, pid in wound.doubled.items()},
            dismissed=frozenset().union(*(wound.dismissed for wound in wounds)),
            repair=_each([wound.repair for wound in wounds]),
            lift=_each([wound.lift for wound in wounds]),
            settled=_all([wound.settled for wound in wounds]),
            rebuild=_each([wound.rebuild for wound in wounds]),
            check=_each([wound.check for wound in wounds]),
        )

    return strike


FAULTS: dict[str, Strike] = {
    "kill ingest": kill("ingest"),
    "kill shard": kill("shard"),
    "kill gateway": kill("gateway"),
    "kill coordinator": kill("coordinator"),
    "kill archive": kill("archive"),
    "kill node": kill_node,
    "kill raylet": kill_raylet,
    "kill broker": kill_broker,
    "kill broker leader": kill_leader,
    "stop shard": stop("shard"),
    "stop ingest": stop("ingest"),
    "stop coordinator": stop("coordinator"),
    "stop node": stop_node,
    "disk full": fill_disk,
    "disk slow": slow_disk,
    "scale": scale,
    "kill shard + broker": both(kill("shard"), kill_broker),
    "kill shard + broker leader": both(kill("shard"), kill_leader),
    "kill coordinator + shard": both(kill("coordinator"), kill("shard")),
    "kill gateway + ingest": both(kill("gateway"), kill("ingest")),
    "disk full + kill shard": both(fill_disk, kill("shard")),
    "disk slow + kill node": both(slow_disk, kill_node),
    "scale + kill shard": both(scale, kill("shard")),
    "scale + kill coordinator": both(scale, kill("coordinator")),
}
# What a short run does, in this order: every role that serves, the broker, a sleeper and a disk
# once, and a node twice, as the second death shows whether the shards stand apart again after the
# first.
SHORT = (
    "kill gateway + ingest",
    "kill coordinator + shard",
    "kill broker",
    "kill node",
    "kill node",
    "stop shard",
    "disk full",
)


def possible(brokers: int) -> list[str]:
    """The faults that so many brokers can suffer: the only one is nobody's successor."""
    return [name for name in FAULTS if "broker" not in name or ("leader" in name) == (brokers > 1)]


def schedule(names: list[str], count: int, random: np.random.Generator) -> list[str]:
    """`count` names in a random order in which each comes as often as any other."""
    rounds = -(-count // len(names))
    return [name for _ in range(rounds) for name in random.permutation(names).tolist()][:count]


def _victim(pids: Pids, random: np.random.Generator, role: str) -> tuple[str, int]:
    names = sorted(name for name in pids if name.rstrip("0123456789-") == role)
    name = names[int(random.integers(len(names)))]
    return name, pids[name]


def _node(stage: Stage, pids: Pids, random: np.random.Generator) -> tuple[int, dict[str, int]]:
    """One of the nodes with actors, and those: a node that came back has none until others die."""
    busy = [
        (node, actors)
        for node in range(stage.nodes.count())
        if (actors := stage.nodes.actors(node, pids))
    ]
    return busy[int(random.integers(len(busy)))]


def _wake(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return  # somebody else ended it meanwhile, as they may


def _each(steps: list[Callable[[], None] | None]) -> Callable[[], None] | None:
    """All steps as one; None where there is none."""
    present = [step for step in steps if step is not None]

    def one_after_another() -> None:
        for step in present:
            step()

    return one_after_another if present else None


def _all(conditions: list[Callable[[], bool] | None]) -> Callable[[], bool] | None:
    """All conditions as one; None where there is none."""
    present = [condition for condition in conditions if condition is not None]
    return (lambda: all(condition() for condition in present)) if present else None
