"""A process that folds and saves is killed again and again; the states do not show it."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from tests.actors.click_log import ClickLog, shard

KILLS = 5
STEP = 50
LOG = ClickLog(4000)


def fold_and_save(root: str, epoch: int, orders: Connection) -> None:
    """Take the partition, then apply and save a step per order;
    answer with position, durable offset and digest.
    """
    owner = shard(root)
    position = owner.hold(0, epoch)
    orders.send((position, owner.durable()[0], owner.digest(0, "main")))
    while orders.recv() == "step":
        position = owner.apply(LOG.batch(position, min(LOG.length, position + STEP)), epoch)
        owner.snapshot(0)
        orders.send((position, owner.durable()[0], owner.digest(0, "main")))


@contextmanager
def child(root: Path, epoch: int) -> Iterator[Connection]:
    """A running child process, killed with SIGKILL at the end of the block."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=fold_and_save, args=(str(root), epoch, theirs)
    )
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join(30)
        ours.close()
        assert process.exitcode == -9


def answer(orders: Connection) -> tuple[int, int, str]:
    """The child's next answer, within a minute."""
    assert orders.poll(60), "the child neither answers nor dies"
    return orders.recv()


def digest_at(tmp_path: Path, position: int) -> str:
    """The digest of an uninterrupted run up to `position`."""
    clean = shard(tmp_path / f"clean-{position}")
    clean.hold(0, 1)
    clean.apply(LOG.batch(0, position), 1)
    return clean.digest(0, "main")


def test_killed_processes_leave_no_trace(tmp_path: Path) -> None:
    """After five SIGKILLs in the middle of folding or saving,
    no durable offset is lost and every state is exact.
    """
    chance = random.Random(11)
    durable = 0
    for epoch in range(1, KILLS + 1):
        with child(tmp_path / "state", epoch) as orders:
            restored, covered, digest = answer(orders)
            assert restored == covered >= durable
            assert digest == digest_at(tmp_path, restored)
            for _ in range(chance.randint(1, 8)):
                orders.send("step")
                _, durable, _ = answer(orders)
            orders.send("step")
            orders.poll(chance.uniform(0.0, 0.008))  # and die somewhere in this step
    with child(tmp_path / "state", KILLS + 1) as orders:
        position, _, _ = answer(orders)
        assert position >= durable > 0
        while position < LOG.length:
            orders.send("step")
            position, _, digest = answer(orders)
    assert digest == digest_at(tmp_path, LOG.length)
