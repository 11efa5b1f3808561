"""The coordinator under any order of crashes, pauses, restarts and scaling."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.errors import SnapshotError
from actors.shard.roles import PartitionReport, Role
from cluster.coordinator.routing import Replica, Route
from tests.cluster.coordinator.coordinated_shards import Deployment

SHARDS_MAX = 4
NODES_MAX = 5


class Faults(RuleBasedStateMachine):
    """After each step the table must be sound; after peace has returned, balanced."""

    @initialize(
        shards=st.integers(1, SHARDS_MAX),
        partitions=st.integers(SHARDS_MAX, 9),
        standbys=st.sampled_from([0, 1]),
    )
    def begin(self, shards: int, partitions: int, standbys: int) -> None:
        """A deployment at rest."""
        self.it = Deployment(shards=shards, partitions=partitions, standbys=standbys).start_all()
        self.nodes_gained = 0
        self.newest = dict.fromkeys(range(partitions), 0)
        self.holders: dict[tuple[int, int], tuple[str, int]] = {}

    @rule(count=st.integers(1, 12))
    def pass_time(self, count: int) -> None:
        """Heartbeats and ticks."""
        self.it.step(count)

    @rule(seconds=st.floats(0.3, 90))
    def stand_still(self, seconds: float) -> None:
        """The coordinator alone sleeps."""
        self.it.clock.advance(seconds)
        self.it.coordinator.tick()

    @rule(number=st.integers(0, SHARDS_MAX - 1))
    def kill(self, number: int) -> None:
        """A process ends."""
        if number in self.it.processes:
            self.it.kill(number)

    @rule(number=st.integers(0, SHARDS_MAX - 1))
    def start(self, number: int) -> None:
        """Ray restarts one, whether or not its predecessor is dead."""
        if number in self.it.processes:
            self.it.start(number)

    @rule(number=st.integers(0, SHARDS_MAX - 1), quiet=st.booleans())
    def pause(self, number: int, quiet: bool) -> None:
        """SIGSTOP, and SIGCONT."""
        if number in self.it.processes:
            self.it.processes[number].quiet = quiet

    @rule(number=st.integers(0, SHARDS_MAX - 1), slow=st.booleans())
    def lag(self, number: int, slow: bool) -> None:
        """What a shard is given from now on does not catch up, or does."""
        if number in self.it.processes:
            self.it.processes[number].slow = slow

    @rule(number=st.integers(0, SHARDS_MAX - 1))
    def fail_to_fold(self, number: int) -> None:
        """A shard gives up one partition."""
        process = self.it.processes.get(number)
        if process and process.alive and process.held:
            partition = min(process.held)
            process.failed[partition] = process.held.pop(partition).epoch

    @precondition(lambda self: len(self.it.nodes) > 1)
    @rule(number=st.integers(0, 9))
    def lose_a_node(self, number: int) -> None:
        """Its processes end, and Ray starts them on the others when it likes."""
        nodes = sorted(self.it.nodes)
        self.it.lose_node(nodes[number % len(nodes)])

    @precondition(lambda self: len(self.it.nodes) < NODES_MAX)
    @rule()
    def gain_a_node(self) -> None:
        """Another one, with room."""
        self.nodes_gained += 1
        self.it.nodes.add(f"gained-{self.nodes_gained}")

    @rule(shards=st.integers(1, SHARDS_MAX))
    def scale(self, shards: int) -> None:
        """Any number."""
        self.it.coordinator.scale(shards)

    @rule()
    def lose_the_coordinator(self) -> None:
        """Its successor knows what was saved."""
        self.it.new_coordinator()

    @rule(number=st.integers(0, SHARDS_MAX - 1), count=st.integers(1, 12))
    def fill_the_disk(self, number: int, count: int) -> None:
        """What cannot be saved does not happen."""
        self.it.diary.full = True
        before = self.it.coordinator.table
        try:
            self.it.step(count)
        except SnapshotError:
            assert self.it.coordinator.table is before
        self.it.diary.full = False

    @precondition(lambda self: hasattr(self, "it"))
    @invariant()
    def epochs_grow_and_belong_to_one_process(self) -> None:
        """No epoch is given out twice, and none is lower than an earlier one for the same shard."""
        for partition, route in enumerate(self.it.coordinator.table.routes):
            epochs = [replica.epoch for _, replica in route.replicas()]
            assert len(set(epochs)) == len(epochs)
            for _, replica in route.replicas():
                holder = replica.shard, replica.incarnation
                known = self.holders.setdefault((partition, replica.epoch), holder)
                assert known == holder or replica.epoch == 0
                if known is holder:
                    assert replica.epoch > self.newest[partition] or replica.epoch == 0
            self.newest[partition] = max(self.newest[partition], *epochs)

    @precondition(lambda self: hasattr(self, "it"))
    @invariant()
    def roles_are_apart(self) -> None:
        """One owner each; a standby is another shard."""
        for route in self.it.coordinator.table.routes:
            assert route.standby is None or route.standby.shard != route.owner.shard

    @precondition(lambda self: hasattr(self, "it"))
    @invariant()
    def owners_agree_by_epoch(self) -> None:
        """Of all processes that believe to own a partition, one at most holds the table's epoch."""
        for partition, route in enumerate(self.it.coordinator.table.routes):
            owners = [held for held in self._held(partition) if held.role is Role.OWNER]
            assert sum(held.epoch == route.owner.epoch for held in owners) <= 1

    def _paired(self) -> list[Route]:
        return [route for route in self.it.coordinator.table.routes if route.standby]

    def _node(self, replica: Replica | None) -> str:
        [node] = [
            each.node
            for each in self.it.processes.values()
            if replica and each.name == replica.shard
        ]
        return node

    def _held(self, partition: int) -> list[PartitionReport]:
        processes = self.it.processes.values()
        return [
            process.held[partition]
            for process in processes
            if process.alive and partition in process.held
        ]

    def teardown(self) -> None:
        """Peace: everybody is there and fast. Then all is balanced, covered,
        and where it is believed to be.
        """
        if not hasattr(self, "it"):
            return
        for number, process in list(self.it.processes.items()):
            self.it.start(number) if not process.alive else setattr(process, "quiet", False)
        for process in self.it.processes.values():
            process.slow = False
            process.held = {
                partition: PartitionReport(
                    epoch=held.epoch, role=held.role, position=0, caught_up=True
                )
                for partition, held in process.held.items()
            }
        self.it.settle(300)
        progress = self.it.coordinator.progress()
        owners = self.it.owners()
        counts = [owners.count(shard) for shard in set(owners)]
        assert len(set(owners)) == progress.shards_wanted == len(self.it.processes)
        assert max(counts) - min(counts) <= 1
        assert self.it.coordinator.table.uncovered() == []
        both = self.it.settings.standbys == 1 and progress.shards_wanted > 1
        assert all((standby is not None) == both for standby in self.it.standbys())
        places = self.it.places()
        on_nodes = [places.count(node) for node in self.it.nodes]
        assert max(on_nodes) - min(on_nodes) <= 1, "shards stand on all nodes alike"
        if len(set(places)) > 1:
            assert all(
                self._node(route.owner) != self._node(route.standby) for route in self._paired()
            )
        for number, process in self.it.processes.items():
            assert [owners[p] for p in self.it.held(number)] == [process.name] * len(
                self.it.held(number)
            )
        version = self.it.coordinator.table.version
        self.it.step(10)
        assert self.it.coordinator.table.version == version, "at rest, nothing moves"


TestFaults = Faults.TestCase
TestFaults.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
