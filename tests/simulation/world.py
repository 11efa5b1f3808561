"""One run: processes that start, die, pause and come back, over one network,
one disk and one log, to a good end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from actors.shard.roles import Grant
from actors.shard.shard import Shard
from cluster.coordinator.coordinator import Coordinator
from cluster.processes.actor import Actor
from cluster.processes.shard_process import ShardProcess
from cluster.wiring import world as ports
from cluster.wiring.actors import create_actors
from model.bundle.bundle import Bundle
from tests.simulation import system
from tests.simulation.clean import Clean
from tests.simulation.faults import NODES, Scenario
from tests.simulation.invariants import Invariants
from tests.simulation.simulated.cold import SimColdDirectory
from tests.simulation.simulated.disk import Disk
from tests.simulation.simulated.kafka_log import START_MS, SimTopic, produce
from tests.simulation.simulated.loop import PROCESS, Process, VirtualLoop, start_soon
from tests.simulation.simulated.network import Build, Network, SimRay
from tests.simulation.simulated.ports import HOST, LOCKS, SimKafka, SimRpc, SimThreads, token
from tests.simulation.simulated.trace import Echo, Trace, Violation

RESTART_S = (0.05, 0.5)  # Ray starts an actor again
CLICKS_END_S = 5.0
STEPS_MAX = 500_000


class Models:
    """The bundles of shards that start now (for `cluster.processes.served_models.ServedModels`)."""

    def __init__(self, arms: Mapping[str, Bundle]) -> None:
        self.arms = arms

    def load(self) -> Mapping[str, Bundle]:
        """Each arm's bundle."""
        return self.arms

    async def awaited(self, *_: Any) -> Mapping[str, Bundle]:
        """The same at once: nobody publishes others."""
        return self.arms


class World:
    """Builds the system of a scenario and lets it run."""

    def __init__(self, scenario: Scenario, arms: Mapping[str, Bundle], echo: Echo | None) -> None:
        self.scenario = scenario
        self.steps = 0
        self.all_arms = dict(list(arms.items())[: scenario.arms + bool(scenario.new_arm_s)])
        # as shards that start now have them
        self.models = Models(dict(list(arms.items())[: scenario.arms]))
        self.settings = system.settings(scenario, self.all_arms)
        self.loop = VirtualLoop(self._stepped, self._defect)
        self.trace = Trace(self.loop.time, echo)
        self.world = Process("world", 0, self.random("world"))
        self.processes: list[Process] = []  # alive
        items = next(iter(arms.values())).items
        logs = produce(
            self.random("clicks"),
            items,
            partitions=scenario.partitions,
            users=scenario.users,
            events=scenario.events,
            seconds=CLICKS_END_S,
        )
        self.topic = SimTopic(self.loop, logs)
        self.clean = Clean(logs, self.all_arms, SimClock(self.loop, self.world))
        self.invariants = Invariants(self.clean, self.topic)
        self.disk = Disk(self.random("disk"), self.trace.say, self._named)
        self.network = Network(self.loop, self.world, self.trace.say, self._defect)
        self.ray = SimRay(self.network, self, self.trace.say, system.CALL_S)
        self._incarnations: dict[str, int] = {}
        self.nodes = [f"node-{number}" for number in range(NODES)]  # that take shards
        self._nodes_ever = NODES
        self._builds: dict[str, Build] = {}
        self.erasing = 0  # users who are not erased yet

    # processes

    def start_all(self) -> None:
        """Start the system, with the builders that ship."""
        made = create_actors(
            self.ports(), self.settings, "run", system.served(self.all_arms), self.models
        )
        for _ in made:
            pass

    def ports(self) -> ports.World:
        """What the process that asks has of this world."""
        return ports.World(
            make=lambda _: self.ports(),
            clock=SimClock(self.loop, PROCESS.get()),
            locks=LOCKS,
            threads=SimThreads(self.loop),
            ray=self.ray,
            kafka=SimKafka(self.topic, self.committed),
            rpc=SimRpc(self.loop, self.network),
            host=HOST,
            open_root=lambda root: (self.disk, root),
            open_cold=lambda _: SimColdDirectory(self.disk),
            token=token,
            scale=system.SCALE,
        )

    def start(self, name: str, build: Build, node: str = "") -> None:
        """Start the next incarnation of a process, on `node` if that is there."""
        self._builds[name] = build
        number = self._incarnations[name] = self._incarnations.get(name, 0) + 1
        process = Process(name, number, self.random(f"{name} {number}"))
        if name.startswith(("shard", "archive")):
            process.node = node if node in self.nodes else process.random.choice(self.nodes)
        self.processes.append(process)
        self.network.names[name] = process
        self.network.actors[process] = constructed = self.loop.create_future()
        self.trace.say(process, f"starts on {process.node or 'the head'}")

        async def main() -> None:
            actor = Actor.__new__(Actor)
            await Actor.__init__(actor, self.ray, build)  # as Ray does, which awaits it
            if isinstance(actor._process, ShardProcess):
                self.invariants.shards[process] = actor._process._shard
            constructed.set_result(actor)

        start_soon(self.loop, process, main())

    def crash(self, process: Process) -> None:
        """Nothing of the process remains; Ray starts it again."""
        if not process.alive:
            return
        self.trace.say(process, "dies")
        process.alive = False
        process.held = None
        self.processes.remove(process)
        self.invariants.shards.pop(process, None)
        self.network.died(process)
        if self.network.names.get(process.name) is process:
            self.later(self.world.random.uniform(*RESTART_S), lambda: self._start_again(process))

    def add_arm(self) -> None:
        """Start every shard anew with all arms."""
        self.trace.say("world", "there is a new arm")
        self.models.arms = self.all_arms
        for process in [process for process in self.processes if process.name.startswith("shard")]:
            self.crash(process)

    def end(self, name: str) -> None:
        """Nothing of the actor's newest process remains, and Ray starts none again."""
        if process := self.network.names.pop(name, None):
            self.crash(process)

    def lose_node(self, number: int, seconds: float) -> None:
        """A node ends with all its processes,
        unless it is the last one; later there is another one.
        """
        if len(self.nodes) == 1:
            return
        lost = self.nodes.pop(number % len(self.nodes))
        self.trace.say("fault", f"{lost} ends")
        for process in [process for process in self.processes if process.node == lost]:
            self.crash(process)
        self.later(seconds, self._gain_node)

    def _gain_node(self) -> None:
        self.nodes.append(f"node-{self._nodes_ever}")
        self._nodes_ever += 1

    def _start_again(self, process: Process) -> None:
        if self.network.names.get(process.name) is process:
            self.start(process.name, self._builds[process.name])

    def pause(self, process: Process, seconds: float) -> None:
        """Let the process stand still for a while."""
        if process.alive and process.held is None:
            self.trace.say(process, f"stands still for {seconds:.2f} s")
            process.held = []
            self.later(seconds, lambda: self._wake(process))

    def replace(self, process: Process, seconds: float) -> None:
        """Let the process stand still while another takes its place;
        when it wakes, there are two for a while.
        """
        if self.network.names.get(process.name) is process:
            self.pause(process, seconds)
            self.start(process.name, self._builds[process.name])
            self.later(seconds + self.world.random.uniform(0.5, 2.0), lambda: self.crash(process))

    def _wake(self, process: Process) -> None:
        if process.alive:
            self.trace.say(process, "goes on")
            self.loop.release(process)

    def after_steps(self, name: str, steps: int, effect: Callable[[Process], None]) -> None:
        """Do it to the newest incarnation: now,
        or at its `steps`-th operation on disk or network from now on.
        """
        if (process := self.network.names.get(name)) is None:
            return
        if steps == 0 or not process.alive:
            effect(process)
        else:
            process.fuse = (steps - 1, effect)

    def later(self, seconds: float, effect: Callable[[], object]) -> None:
        """Do it in so many seconds."""
        self.loop.call_later(seconds, effect, context=self.world.context)

    # the end

    def until(self, deadline: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Run to the deadline, or until it is done (asked ten times a
        second), or something is wrong.
        """
        finished = False

        def look() -> None:
            nonlocal finished
            finished = finished or done()
            self.later(0.1, look)

        self.later(0, look)
        self.loop.run_until(deadline, lambda: finished or self.trace.violation is not None)
        return finished

    def heal(self) -> None:
        self.trace.say("world", "nothing goes wrong any more")
        for process in self.processes:
            process.fuse = None

    def settled(self) -> bool:
        return not self.unsettled()

    def unsettled(self) -> list[str]:
        """What is still to be done, in words."""
        if (coordinator := self.coordinator()) is None:
            return ["there is no coordinator"]
        open_ends = (
            [coordinator.progress().waiting_for] if coordinator.progress().waiting_for else []
        )
        if self.erasing:
            open_ends.append(f"{self.erasing} users are not erased yet")
        open_ends += self._together(coordinator)
        for partition, log in enumerate(self.topic.partitions):
            for role, replica in coordinator.table.routes[partition].replicas():
                shard = self.holder(replica.shard)
                if shard is None or shard.grants().get(partition) != Grant(replica.epoch, role):
                    open_ends.append(
                        f"partition {partition}: {replica.shard} is not yet its {role}"
                    )
                elif (at := shard.positions().get(partition)) != log.length:
                    open_ends.append(
                        f"partition {partition}: its {role} {replica.shard} is at {at} of "
                        f"{log.length}"
                    )
            if (below := self.topic.marks.get(partition, 0)) < log.length:
                open_ends.append(
                    f"partition {partition}: letters are written below {below} of {log.length}"
                )
            if (archived := self.invariants.archived_to(partition, self.disk)) < log.length:
                open_ends.append(f"partition {partition} is archived to {archived} of {log.length}")
        return open_ends

    def _together(self, coordinator: Coordinator) -> list[str]:
        """Partitions that one node has twice; where a shard is drained,
        its node is to go, and the others may share.
        """
        if any(member.draining for member in coordinator._ledger.members):
            return []
        nodes = {name: process.node for name, process in self.network.names.items()}
        return [
            f"partition {partition}: owner and standby are on {nodes[route.owner.shard]}"
            for partition, route in enumerate(coordinator.table.routes)
            if route.standby and nodes[route.owner.shard] == nodes[route.standby.shard]
        ]

    def coordinator(self) -> Coordinator | None:
        """The newest coordinator, once it is constructed."""
        constructed = self._constructed("coordinator")
        return constructed._process.coordinator if constructed else None

    def holder(self, name: str) -> Shard | None:
        """The shard of the newest process of that name."""
        process = self.network.names.get(name)
        return self.invariants.shards.get(process) if process else None

    def _constructed(self, name: str) -> Any:
        process = self.network.names.get(name)
        made = self.network.actors[process] if process else None
        return made.result() if made is not None and made.done() else None

    def compare(self) -> None:
        coordinator = self.coordinator()
        assert coordinator is not None, "all is settled"
        with self.trace.judged():
            for partition, route in enumerate(coordinator.table.routes):
                self.world.context.run(self.clean.tombstones.settle, partition, self.disk)
                self.world.context.run(self.invariants.archive, partition, self.disk)
                self.invariants.letters(partition, once=not self.scenario.faults)
                for _, replica in route.replicas():
                    if shard := self.holder(replica.shard):
                        self.invariants.final_states(partition, shard)

    # what happened

    def random(self, purpose: str) -> Random:
        """Chance of its own for each purpose,
        so that leaving a fault out changes as little as possible elsewhere.
        """
        return Random(f"{self.scenario.seed} {purpose}")

    def committed(self, partition: int, offset: int) -> None:
        """Somebody committed an offset."""
        with self.trace.judged():
            self.invariants.committed(partition, offset)

    def _stepped(self, process: Process) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            self.trace.fail(f"{STEPS_MAX} steps and no end: something goes round in circles")
        try:
            self.invariants.after_step(process)
        except Violation as violation:
            self.trace.fail(str(violation))

    def _named(self, path: str) -> None:
        with self.trace.judged():
            self.invariants.named(path)

    def _defect(self, message: str, error: BaseException) -> None:
        self.trace.fail(f"nobody expects {error!r} {message}")


class SimClock:
    """Virtual time, and a process's own idea of the time of day."""

    def __init__(self, loop: VirtualLoop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def now_ms(self) -> int:
        """Wall-clock milliseconds; faults make it jump."""
        return int(START_MS + self._loop.time() * 1000 + self._process.clock_offset_ms)

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._loop.time()

    def processor(self) -> float:
        """None: virtual time knows no processors,
        so snapshots come as often as their interval says.
        """
        return 0.0
