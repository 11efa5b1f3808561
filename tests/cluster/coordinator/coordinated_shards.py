"""A coordinator with shards that exist only as their heartbeats,
under a clock that is moved by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.clock import ManualClock
from actors.errors import NotOwner, SnapshotError
from actors.serve.traffic import Arm
from actors.shard.roles import Grant, PartitionReport, Report, Role, steps
from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.ledger import Ledger
from cluster.coordinator.settings import CoordinatorSettings
from cluster.names import shard_name
from monitoring.discovery import Target

ARM = Arm(name="main", model_version="v1", role="live", weight=10_000)
STEP_S = 0.2


def node_name(number: int) -> str:
    """Node 0 is that of shard 0, as long as nothing goes wrong."""
    return f"node-{number}"


@dataclass
class Diary:
    """A memory in memory, which can fail."""

    saved: list[Ledger] = field(default_factory=list)
    generation: int = 0
    full: bool = False

    @property
    def first_epoch(self) -> int:
        """Short generations, easy to read."""
        return self.generation * 1000 + 1

    def load(self) -> Ledger | None:
        """The newest."""
        self.generation += 1
        return self.saved[-1] if self.saved else None

    def save(self, ledger: Ledger) -> None:
        """Keep it, unless full."""
        if self.full:
            raise SnapshotError("the disk is full")
        self.saved.append(ledger)


@dataclass
class Process:
    """A shard's process: does at once what it is told."""

    name: str
    node: str
    incarnation: int = 0
    alive: bool = True
    quiet: bool = False  # stopped, or cut off
    slow: bool = False  # catches up with nothing new
    held: dict[int, PartitionReport] = field(default_factory=dict)
    failed: dict[int, int] = field(default_factory=dict)

    def report(self) -> Report:
        """The next heartbeat."""
        return Report(incarnation=self.incarnation, held=dict(self.held), failed=dict(self.failed))

    def follow(self, grants: dict[int, Grant]) -> None:
        """Release, renew, own."""
        todo = steps({p: Grant(held.epoch, held.role) for p, held in self.held.items()}, grants)
        for partition in todo.release:
            del self.held[partition]
        for partition, grant in todo.renew.items():
            was = self.held[partition]
            self.held[partition] = PartitionReport(
                epoch=grant.epoch, role=grant.role, position=was.position, caught_up=was.caught_up
            )
        for partition, grant in todo.hold.items():
            if self.failed.get(partition) != grant.epoch:
                self.held[partition] = PartitionReport(
                    epoch=grant.epoch, role=grant.role, position=0, caught_up=not self.slow
                )


class Deployment:
    """What surrounds a coordinator."""

    def __init__(
        self, *, shards: int = 2, partitions: int = 4, standbys: int = 0, run: str = "run"
    ) -> None:
        self.clock = ManualClock()
        self.diary = Diary()
        self._partitions = partitions
        self._shards = shards
        self.settings = CoordinatorSettings(standbys=standbys)
        self.processes: dict[int, Process] = {}
        self.nodes = {node_name(number) for number in range(shards)}  # that may take shards
        self.coordinator = self.new_coordinator(run)

    def new_coordinator(self, run: str = "run") -> Coordinator:
        """The coordinator that starts now, from what the diary holds."""
        self.coordinator = Coordinator(
            run=run,
            partitions=self._partitions,
            shards=self._shards,
            arms=[ARM],
            memory=self.diary,
            clock=self.clock,
            settings=self.settings,
        )
        return self.coordinator

    def start(self, number: int, node: str = "") -> Process:
        """A process of a shard, which registers; its predecessor is dead.

        It comes to `node`, to where its predecessor was, or to the node of its number; if that is
        gone, to another.
        """
        before = self.processes.get(number)
        node = node or (before.node if before else node_name(number))
        node = node if node in self.nodes else min(self.nodes)
        process = self.processes[number] = Process(shard_name(number), node)
        target = Target(kind="shard", name=process.name, address=f"127.0.0.1:{number}")
        process.incarnation = self.coordinator.register(
            process.name, f"10.0.0.{number}:{number}", target, node
        )
        return process

    def start_all(self) -> Deployment:
        """Every shard, and what it takes until all is at rest."""
        for number in range(self._shards):
            self.start(number)
        return self.settle()

    def kill(self, number: int) -> None:
        """The process ends without a word."""
        self.processes[number].alive = False

    def lose_node(self, node: str) -> None:
        """A node ends, and with it every process there."""
        self.nodes.remove(node)
        for number, process in self.processes.items():
            if process.node == node:
                self.kill(number)

    def beat(self, process: Process) -> None:
        """One heartbeat, and what follows from its answer; a process that is replaced ends."""
        try:
            process.follow(dict(self.coordinator.heartbeat(process.name, process.report()).grants))
        except NotOwner:
            process.alive = False

    def step(self, count: int = 1) -> None:
        """Let heartbeats and ticks pass; actors are spawned and stopped as the coordinator asks."""
        for _ in range(count):
            self.clock.advance(STEP_S)
            for process in list(self.processes.values()):
                if process.alive and not process.quiet:
                    self.beat(process)
            self.coordinator.tick()
            for number, node in self.coordinator.to_spawn().items():
                self.coordinator.spawned(number)
                self.start(number, node)
            for number in self.coordinator.to_stop():
                self.processes.pop(number, None)
                self.coordinator.stopped(number)
            self.coordinator.spread(self.nodes)

    def settle(self, steps_max: int = 100) -> Deployment:
        """Step until nothing is left to do."""
        for _ in range(steps_max):
            self.step()
            if not self.coordinator.progress().waiting_for:
                self.step()  # the last word about it reaches the shards
                return self
        raise AssertionError(f"still waiting for {self.coordinator.progress().waiting_for}")

    def owners(self) -> list[str]:
        """By partition."""
        return [route.owner.shard for route in self.coordinator.table.routes]

    def standbys(self) -> list[str | None]:
        """By partition."""
        return [
            route.standby.shard if route.standby else None
            for route in self.coordinator.table.routes
        ]

    def epochs(self) -> list[int]:
        """The owners', by partition."""
        return [route.owner.epoch for route in self.coordinator.table.routes]

    def places(self) -> list[str]:
        """The node of each shard, by number."""
        return [process.node for _, process in sorted(self.processes.items())]

    def held(self, number: int, role: Role = Role.OWNER) -> list[int]:
        """What a process believes to hold."""
        return sorted(p for p, held in self.processes[number].held.items() if held.role is role)
