"""Digests of a system whose partitions move while they are asked for."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from actors.errors import ShardUnavailable
from cluster.broker.broker import Broker
from cluster.lifecycle import system
from cluster.lifecycle.system import System
from cluster.processes.shard_process import ShardProcess
from cluster.settings.config import Settings

Digests = dict[tuple[int, str], str]
PARTITIONS = Settings().topics.partitions
ALL: Digests = {(partition, "main"): f"digest {partition}" for partition in range(PARTITIONS)}


class Moving(System):
    """Two shards, each with its answers in order; the last one is repeated."""

    def __init__(self, first: list[Digests], second: list[Digests]) -> None:
        self._answers = {"shard-0": deque(first), "shard-1": deque(second)}
        super().__init__(Settings(), Broker("127.0.0.1:1", "embedded"), {}, ephemeral_state=False)

    def _shards(self) -> list[str]:
        return sorted(self._answers)

    def _ask(self, name: str, method: Any, *args: Any) -> Digests:
        assert (method, args) == (ShardProcess.digests, ())
        answers = self._answers[name]
        return answers.popleft() if len(answers) > 1 else answers[0]


def test_a_partition_that_moves_is_asked_for_again() -> None:
    """Neither shard owned partition 3 when it was asked:
    the second round finds it at its new owner.
    """
    rest = {at: digest for at, digest in ALL.items() if at[0] != 3}
    moving = Moving([{}, {(3, "main"): "digest 3"}], [rest])
    assert moving.digests() == ALL


def test_a_partition_without_owner_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, not left out."""
    monkeypatch.setattr(system, "ASK_S", 0.0)
    with pytest.raises(ShardUnavailable, match=r"\[3\]"):
        Moving([{}], [{at: digest for at, digest in ALL.items() if at[0] != 3}]).digests()
