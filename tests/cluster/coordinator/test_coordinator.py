"""Every transition of the coordinator, driven step by step."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

import pytest

from actors.errors import ConfigError, NotOwner, SnapshotError
from actors.shard.roles import Grant, Report, Role
from monitoring.discovery import Target
from tests.cluster.coordinator.coordinated_shards import ARM, STEP_S, Deployment

A = "shard-0"
B = "shard-1"


def test_partitions_are_shared_out_evenly() -> None:
    """Every other partition goes to each of two shards, under the first epoch of the generation."""
    started = Deployment().start_all()
    assert started.owners() == [A, B, A, B]
    assert started.epochs() == [1001] * 4
    assert (started.held(0), started.held(1)) == ([0, 2], [1, 3])
    assert started.coordinator.table.not_ready() == []


def test_nobody_is_given_what_waits_for_a_slow_start() -> None:
    """A shard that has not registered yet keeps its part while it compiles,
    however long the others wait.
    """
    started = Deployment()
    started.start(0)
    started.step(int(100 / STEP_S))
    assert started.owners() == [A, B, A, B]
    started.start(1)
    started.settle()
    assert started.epochs() == [1001] * 4


def test_a_shard_that_never_comes_loses_its_part() -> None:
    """After start and grace times the others take over."""
    started = Deployment()
    started.start(0)
    started.step(int(130 / STEP_S))
    assert started.owners() == [A] * 4


def test_each_registration_fences_the_one_before() -> None:
    """The epochs of the shard's partitions rise, and only they;
    the predecessor's heartbeats end it.
    """
    started = Deployment().start_all()
    before = started.processes[0]
    started.start(0)
    assert started.epochs() == [1002, 1001, 1002, 1001]
    with pytest.raises(
        NotOwner, match=r"incarnation 1 of shard-0 is not the one that registered last \(3\)"
    ):
        started.coordinator.heartbeat(A, before.report())
    started.settle()
    assert started.owners() == [A, B, A, B]


def test_a_stranger_gets_nothing() -> None:
    """The message lists the shards of the deployment."""
    started = Deployment()
    target = Target(kind="shard", name="x", address="h:1")
    with pytest.raises(
        NotOwner, match="shard 'x' is not part of this deployment, which has shard-0, shard-1"
    ):
        started.coordinator.register("x", "h:1", target, "n")
    with pytest.raises(NotOwner, match="shard 'x' is not part"):
        started.coordinator.heartbeat("x", Report(incarnation=1))


def test_a_heartbeat_before_any_registration_is_refused() -> None:
    """A process of an earlier run has no say."""
    started = Deployment()
    with pytest.raises(NotOwner, match="it was replaced"):
        started.coordinator.heartbeat(A, Report(incarnation=0))


def test_ready_is_said_under_the_current_epoch_only() -> None:
    """A shard that registers anew is not ready until it says so again."""
    started = Deployment().start_all()
    assert started.coordinator.table.not_ready() == []
    started.start(0).slow = True
    started.step(3)
    assert started.coordinator.table.not_ready() == [0, 2]
    assert started.coordinator.table.uncovered() == [0, 2]


def test_a_missed_lease_without_standby_waits_for_the_shard() -> None:
    """Its partitions are not ready, stay its own,
    and are ready again once it speaks: a pause costs no restore.
    """
    started = Deployment().start_all()
    started.processes[0].quiet = True
    started.step(10)
    assert started.coordinator.table.uncovered() == [0, 2]
    assert started.coordinator.table.routes[0].owner.address == "10.0.0.0:0"
    started.processes[0].quiet = False
    started.step(2)
    assert started.coordinator.table.uncovered() == []
    assert started.epochs() == [1001] * 4


def test_without_standby_survivors_take_over_after_the_grace() -> None:
    """Not before, then at once; when the shard comes back, its part moves back without a gap."""
    started = Deployment().start_all()
    started.kill(0)
    started.step(int(5.9 / STEP_S))
    assert started.owners() == [A, B, A, B]
    started.step(2)
    assert started.owners() == [B] * 4
    assert started.epochs() == [1002, 1001, 1002, 1001]
    started.step(2)
    started.start(0)
    while started.owners() == [B] * 4:
        started.step()
        assert started.coordinator.table.uncovered() == []
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B]
    assert started.standbys() == [None] * 4


def test_a_shard_that_is_back_in_time_keeps_its_part() -> None:
    """As after a crash that Ray repairs within seconds."""
    started = Deployment().start_all()
    started.kill(0)
    started.step(int(4 / STEP_S))
    started.start(0)
    started.settle()
    assert started.owners() == [A, B, A, B]
    assert started.epochs() == [1002, 1001, 1002, 1001]


def test_standbys_stand_elsewhere() -> None:
    """Each partition has a ready one under an epoch of its own, and shards know their roles."""
    started = Deployment(standbys=1).start_all()
    assert started.standbys() == [B, A, B, A]
    assert (started.held(0), started.held(0, Role.STANDBY)) == ([0, 2], [1, 3])
    epochs = [
        {replica.epoch for _, replica in route.replicas()}
        for route in started.coordinator.table.routes
    ]
    assert all(len(each) == 2 for each in epochs)


def test_a_standby_takes_over_when_the_lease_ends() -> None:
    """Within lease and two heartbeats, under a newer epoch; partitions are covered all the time."""
    started = Deployment(standbys=1).start_all()
    newest = [
        max(replica.epoch for _, replica in route.replicas())
        for route in started.coordinator.table.routes
    ]
    started.kill(0)
    passed_s = 0.0
    while started.owners() != [B] * 4:
        started.step()
        passed_s += STEP_S
        assert started.coordinator.table.uncovered() == []
    assert passed_s <= 1.0 + 2 * STEP_S
    assert [epoch > before for epoch, before in zip(started.epochs(), newest, strict=True)] == [
        True,
        False,
        True,
        False,
    ]
    started.step()
    assert started.held(1) == [0, 1, 2, 3]


def test_a_restart_within_the_lease_also_makes_the_standby_owner() -> None:
    """The new process has lost the states, the standby has not; then all is balanced again."""
    started = Deployment(standbys=1).start_all()
    started.start(0)
    assert started.owners() == [B] * 4
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B]
    assert all(
        owner != standby
        for owner, standby in zip(started.owners(), started.standbys(), strict=True)
    )


def test_a_standby_that_lags_does_not_take_over_while_the_owner_may_return() -> None:
    """A restarting owner is as good; when it is given up, whoever is nearest takes over."""
    started = Deployment(standbys=1)
    started.start(0)
    started.start(1).slow = True
    started.step(5)
    started.kill(0)
    started.step(int(5.9 / STEP_S))
    assert started.owners() == [A, B, A, B]
    started.step(2)
    assert started.owners() == [B] * 4


def test_a_zombie_is_fenced() -> None:
    """A process that was stopped for long finds its partitions under newer
    epochs elsewhere, and gives them up.
    """
    started = Deployment(standbys=1).start_all()
    zombie = started.processes[0]
    zombie.quiet = True
    started.step(20)
    assert started.owners() == [B] * 4
    before = dict(zombie.held)
    zombie.quiet = False
    started.step(1)
    for partition, held in before.items():
        assert (
            partition not in zombie.held
            or zombie.held[partition].epoch > held.epoch
            or held.role is Role.STANDBY
        )
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B]


def test_a_failed_fold_goes_to_the_standby() -> None:
    """The shard that gave the partition up becomes its standby,
    under a newer epoch, and restores.
    """
    started = Deployment(standbys=1).start_all()
    process = started.processes[0]
    process.failed = {0: process.held.pop(0).epoch}
    started.step()
    assert (started.owners()[0], started.standbys()[0]) == (B, A)
    assert started.coordinator.table.uncovered() == []
    started.settle()
    assert sorted(started.owners()) == [A, A, B, B]


def test_a_failed_fold_without_standby_is_restored_under_a_newer_epoch() -> None:
    """Once: the same report does not raise epochs for ever."""
    started = Deployment().start_all()
    process = started.processes[0]
    process.failed = {0: process.held.pop(0).epoch}
    started.step(5)
    assert started.epochs() == [1002, 1001, 1001, 1001]
    assert started.held(0) == [0, 2]


def test_the_coordinators_own_sleep_ends_no_lease() -> None:
    """After a minute's pause of the coordinator alone, nobody counts as dead;
    after one of a shard, it does.
    """
    started = Deployment(standbys=1).start_all()
    started.clock.advance(60)
    started.coordinator.tick()
    assert sorted(started.owners()) == [A, A, B, B]
    assert started.coordinator.table.uncovered() == []
    started.processes[0].quiet = True
    started.step(int(8 / STEP_S))
    assert started.owners() == [B] * 4


def test_a_registration_first_after_a_sleep_ends_no_lease_either() -> None:
    """What waited longest for the coordinator may be a shard that restarted;
    the others are no less alive.
    """
    started = Deployment(shards=3, partitions=3, standbys=1).start_all()
    started.clock.advance(60)
    started.start(2)
    assert started.owners()[:2] == [A, B]


def test_leases_start_anew_with_a_new_coordinator() -> None:
    """Shards that served on while it was dead keep everything;
    one that died meanwhile is noticed.
    """
    started = Deployment(standbys=1).start_all()
    epochs = started.epochs()
    started.clock.advance(60)
    started.new_coordinator()
    started.step(2)
    assert started.epochs() == epochs
    assert started.coordinator.table.uncovered() == []
    started.kill(1)
    started.clock.advance(60)
    started.new_coordinator()
    started.step(8)
    assert started.owners() == [A] * 4


def test_every_change_is_a_new_version_and_nothing_else_is() -> None:
    """Heartbeats without news do not wake gateways, and nothing is written for them."""
    started = Deployment().start_all()
    version = started.coordinator.table.version
    saved = len(started.diary.saved)
    started.step(10)
    assert (started.coordinator.table.version, len(started.diary.saved)) == (version, saved)


def test_targets_are_every_process_once() -> None:
    """A restarted process replaces its own entry."""
    started = Deployment().start_all()
    started.coordinator.join(Target(kind="gateway", name="gateway", address="127.0.0.1:3"))
    started.start(0)
    assert [target.name for target in started.coordinator.table.targets] == ["gateway", A, B]


async def test_a_long_poll_ends_with_the_next_table() -> None:
    """The poller gets the table as soon as it is there."""
    started = Deployment()
    polling = asyncio.create_task(
        started.coordinator.wait_newer(started.coordinator.table.version, timeout_s=10)
    )
    await asyncio.sleep(0)
    assert not polling.done()
    started.start(0)
    assert (await polling).routes[0].owner.address == "10.0.0.0:0"


async def test_a_long_poll_ends_in_time() -> None:
    """Without a change the poller gets the table it knows."""
    coordinator = Deployment().coordinator
    assert (
        await coordinator.wait_newer(coordinator.table.version, timeout_s=0.01) is coordinator.table
    )


def test_another_run_keeps_epochs_and_forgets_addresses() -> None:
    """Nothing of an earlier run is asked for scores, and its shards stay fenced;
    arms are those of the new run.
    """
    started = Deployment().start_all()
    before = started.epochs()
    started.coordinator = started.new_coordinator("next")
    assert started.coordinator.table.addresses() == set()
    assert started.coordinator.table.targets == ()
    assert started.coordinator.table.arms == (ARM,)
    process = started.processes[0]
    with pytest.raises(NotOwner):
        started.coordinator.heartbeat(A, process.report())
    started.start_all()
    assert all(epoch > old for epoch, old in zip(started.epochs(), before, strict=True))


def test_another_number_of_partitions_is_refused() -> None:
    """Users would be looked for where their states are not; the message says what to do."""
    started = Deployment().start_all()
    started._partitions = 8
    with pytest.raises(
        ConfigError,
        match=r"topics.partitions is 8, but .* are of 4 partitions .*empty state.directory",
    ):
        started.new_coordinator("next")


def test_nobody_sees_what_could_not_be_saved() -> None:
    """If saving fails, registration and tick fail, the table stays,
    heartbeats go on; later all is made good.
    """
    started = Deployment(standbys=1).start_all()
    before = started.coordinator.table
    started.diary.full = True
    with pytest.raises(SnapshotError, match="the disk is full"):
        started.start(0)
    started.processes[0].alive = False
    for _ in range(10):
        started.clock.advance(STEP_S)
        started.beat(started.processes[1])
        with suppress(SnapshotError):
            started.coordinator.tick()
    assert started.coordinator.table is before
    started.diary.full = False
    started.step(2)
    assert started.owners() == [B] * 4


def test_grants_are_the_whole_assignment() -> None:
    """Owner and standby roles, each under its epoch."""
    started = Deployment(standbys=1).start_all()
    answer = started.coordinator.heartbeat(A, started.processes[0].report())
    routes = started.coordinator.table.routes
    assert answer.lease_s == 1.0
    assert answer.grants[0] == Grant(routes[0].owner.epoch, Role.OWNER)
    standby = routes[1].standby
    assert standby is not None
    assert answer.grants[1] == Grant(standby.epoch, Role.STANDBY)
    assert dataclasses.asdict(answer)["lease_s"] == 1.0
