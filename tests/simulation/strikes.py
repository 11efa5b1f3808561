"""How each fault strikes."""

from __future__ import annotations

from typing import Any

from cluster.coordinator.coordinator import Coordinator
from tests.simulation.faults import Fault
from tests.simulation.operator import Operator
from tests.simulation.world import World


def strike(world: World, operator: Operator, fault: Fault) -> None:
    """Make it happen now, and end when it is over."""
    world.trace.say("fault", str(fault))
    match fault.kind:
        case "crash":
            world.after_steps(fault.target, int(fault.amount), world.crash)
        case "pause":
            world.after_steps(
                fault.target, int(fault.amount), lambda process: world.pause(process, fault.lasts_s)
            )
        case "zombie":
            world.after_steps(
                fault.target,
                int(fault.amount),
                lambda process: world.replace(process, fault.lasts_s),
            )
        case "cut":
            cut = frozenset(fault.target.split())
            world.network.cuts.append(cut)
            world.later(fault.lasts_s, lambda: world.network.cuts.remove(cut))
        case "loss" | "doubling" | "late":
            _raise(world, world.network, fault)
        case "full" | "unreadable" | "slowness":
            _raise(world, world.disk, fault)
        case "away":
            _raise(world, world.topic, fault)
        case "flip" | "tear":
            _damage(world, fault)
        case "power":
            for process in list(world.processes):
                world.crash(process)
            world.disk.lose_power()
        case "node":
            world.lose_node(int(fault.amount), fault.lasts_s)
        case "retention":
            _cut_log(world, int(fault.target), fault.amount)
        case "scale":
            operator.ask(Coordinator.scale, int(fault.amount))
        case "drain":
            operator.ask(Coordinator.drain, fault.target)
        case "erase":
            operator.erase(fault.target)
        case "clock":
            if process := world.network.names.get(fault.target):
                process.clock_offset_ms += fault.amount
        case _:
            raise AssertionError(f"no fault of kind {fault.kind}")


def _raise(world: World, what: Any, fault: Fault) -> None:
    """Add to an attribute that is named as the fault, for a while."""

    def add(amount: float) -> None:
        setattr(what, fault.kind, getattr(what, fault.kind) + amount)

    add(fault.amount)
    world.later(fault.lasts_s, lambda: add(-fault.amount))


def _cut_log(world: World, partition: int, share: float) -> None:
    """Kafka forgets a share of what the archive holds for good;
    without the archive's copy, no state could be right.
    """
    log = world.topic.partitions[partition]
    log.start = max(log.start, int(share * world.invariants.archived_to(partition, world.disk)))
    world.trace.say("fault", f"partition {partition} begins at {log.start}")


def _damage(world: World, fault: Fault) -> None:
    """Harm one of the newest files of a partition's snapshots."""
    paths = world.disk.paths(f"state/partition-{int(fault.target):05d}/")
    # of which a damaged one waits for a person
    files = [path for path in paths if "/tombstone-" not in path]
    if files:
        path = files[max(0, len(files) - 1 - int(fault.amount))]
        world.trace.say("fault", f"{fault.kind}s {path}")
        world.disk.damage(path, tear=fault.kind == "tear")
