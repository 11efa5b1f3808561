"""Several Ray nodes on one machine: a head without work of its own, and nodes that may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.lifecycle.ray_start import OF_RAY
from tests.ray_nodes import add_node, head_node

# A killed node refuses, and is dead after three periods: with 1 s instead of 0.5 s, failover took a
# second longer. One that is silent may only be busy, as all are while five actors start on two
# cores: with 2 s instead of 5 s, Ray gave up sound nodes.
SYSTEM = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
    # how soon actors follow their raylet; Ray's own is 1000
    "raylet_death_check_interval_milliseconds": 200,
    **OF_RAY,
}
# three times the period and the time-out, and some more: a silent node is dead by then
SILENT_S = 25.0


class Nodes:
    """A head and `workers` nodes, each with an address of its own in 127.0.0.0/8; close it."""

    def __init__(self, directory: Path, workers: int) -> None:
        self._cluster = head_node(directory, **SYSTEM)
        self._workers: list[Any] = [self._add(f"127.0.0.{2 + number}") for number in range(workers)]
        self._struck: set[int] = set()  # on purpose, and not replaced yet
        self.given_up = 0  # nodes that Ray gave up though nothing had struck them

    @property
    def address(self) -> str:
        """host:port for `ray.address`."""
        return str(self._cluster.address)

    def count(self) -> int:
        """How many nodes may be struck."""
        return len(self._workers)

    def kill(self, number: int) -> None:
        """SIGKILL of everything that runs on a node, as when a machine loses its power."""
        raylet = self._raylet(number)
        children = list(_children(raylet.pid))
        self.kill_raylet(number)
        for pid in children:
            os.kill(pid, signal.SIGKILL)

    def kill_raylet(self, number: int) -> None:
        """SIGKILL of a node's raylet alone; it is waited for,
        as its actors look whether it is in the process table.
        """
        self._struck.add(number)
        raylet = self._raylet(number)
        raylet.kill()
        raylet.wait()

    def stop(self, number: int) -> None:
        """SIGSTOP of a node's raylet; its actors go on."""
        self._struck.add(number)
        self._raylet(number).send_signal(signal.SIGSTOP)

    def wake(self, number: int) -> None:
        """SIGCONT of a node's raylet."""
        self._raylet(number).send_signal(signal.SIGCONT)

    def actors(self, number: int, pids: Mapping[str, int]) -> dict[str, int]:
        """Those of `pids`, process ids by name, that run on a node:
        they are its raylet's children.
        """
        raylet = self._raylet(number)
        return {name: pid for name, pid in pids.items() if _parent(pid) == raylet.pid}

    def replace(self, number: int) -> None:
        """Clear away what is left of a dead node and start another at its address."""
        dead = self._workers[number]
        address = dead.node_ip_address
        self._cluster.remove_node(dead, allow_graceful=False)
        self._workers[number] = self._add(address)
        self._struck.discard(number)

    def mend(self) -> None:
        """Replace the nodes that ended although nothing struck them,
        as who runs the machines would.
        """
        for number in range(self.count()):
            if number not in self._struck and self._raylet(number).poll() is not None:
                self.given_up += 1
                self.replace(number)

    def close(self) -> None:
        """End every node."""
        self._cluster.shutdown()

    def _raylet(self, number: int) -> Any:
        [raylet] = self._workers[number].all_processes["raylet"]
        return raylet.process

    def _add(self, address: str) -> Any:
        # Ray starts as many workers at a time as a node has processors: with 2, the last of five
        # waited for 5 s.
        return add_node(self._cluster, address, cpus=6)


def _parent(pid: int) -> int:
    _, _, after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return int(after_name.split()[1])


def _children(pid: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if _parent(int(process.name)) == pid:
                yield int(process.name)
