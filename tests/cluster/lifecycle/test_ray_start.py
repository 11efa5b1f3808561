"""Starting Ray: slow machines get more tries, other errors none,
and nothing of a failed try stays behind.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import node, services
from ray._private.state import state

from actors.errors import ConfigError
from cluster.lifecycle import ray_start
from cluster.processes.actor import Actor
from cluster.processes.ray_calls import RealRay, begin
from cluster.processes.ray_port import call
from cluster.settings.serving import RaySettings
from tests.waiting import until
from training import patient_ray


@pytest.mark.ray
def test_a_slow_start_is_tried_again_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first node is up but not noticed in time:
    its processes are ended before the second is started.
    """
    half_started: list[int] = []
    started = node.Node.start_ray_processes
    get_node = services.get_node

    def start(self: node.Node) -> None:
        started(self)
        if not half_started:
            half_started.extend(
                each.process.pid for kind in self.all_processes.values() for each in kind
            )

    def too_slow(*arguments: Any) -> Any:
        monkeypatch.setattr(services, "get_node", get_node)
        raise Exception(f"The current node {patient_ray.SLOW[0]}")

    monkeypatch.setattr(node.Node, "start_ray_processes", start)
    monkeypatch.setattr(services, "get_node", too_slow)
    try:
        ray_start.start_ray(RaySettings(cpus=1), show_logs=False)
        assert ray.is_initialized()
        assert len(half_started) > 2
        assert not [pid for pid in half_started if Path(f"/proc/{pid}").exists()]
    finally:
        ray.shutdown()


def test_a_handler_of_sigterm_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray puts its own handler in place of the process's;
    afterwards the process's is back, and one of none is not.
    """

    def ray_handler(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(
        ray_start.ray, "init", lambda **_: signal.signal(signal.SIGTERM, ray_handler)
    )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        ray_start.start_ray(RaySettings(), show_logs=False)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ray_start.start_ray(RaySettings(), show_logs=False)
        assert signal.getsignal(signal.SIGTERM) is ray_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_errors_of_ray_are_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is not tried again."""
    starts: list[str] = []

    def init(*, namespace: str, **_: object) -> None:
        starts.append(namespace)
        raise Exception("no cluster at that address")

    monkeypatch.setattr(ray_start.ray, "init", init)
    with pytest.raises(Exception, match="no cluster"):
        ray_start.start_ray(RaySettings(), show_logs=False)
    assert len(starts) == 1


@pytest.mark.parametrize("slow", patient_ray.SLOW)
def test_tries_end(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that never gets Ray up is told so."""
    starts: list[str] = []

    def init(*, namespace: str, **_: object) -> None:
        starts.append(namespace)
        raise Exception(f"The current node {slow}")

    monkeypatch.setattr(ray_start.ray, "init", init)
    with pytest.raises(Exception, match=slow):
        ray_start.start_ray(RaySettings(), show_logs=False)
    assert len(starts) == patient_ray.TRIES


@pytest.mark.ray
async def test_calls_of_actors_leave_nothing_in_rays_control_store() -> None:
    """Where Ray keeps calls of others, none of our actors' is kept:
    each would take some kB of the head's memory.
    """

    class Counted:  # in here, as Ray's processes find no tests to import
        def methods(self) -> Any:
            return (self.number,)

        async def run(self) -> None:
            pass

        async def number(self) -> int:
            return 3

        async def call(self) -> int:
            return 4

    async def build() -> Counted:
        return Counted()

    ray.init(address="local", num_cpus=1, include_dashboard=False, namespace="calls")
    try:
        port = RealRay("calls")
        ours = port.create("coordinator", build)
        assert await begin(ours, Counted.number) == 3
        assert await call(port, "coordinator", Counted.number) == 3
        with pytest.raises(ConfigError, match="has an actor 'coordinator' already"):
            port.create("coordinator", build)
        other = ray.remote(Counted).options(num_cpus=0).remote()
        assert await other.call.remote() == 4
        await until(lambda: calls_kept("call"), within_s=30)
        assert calls_kept("call") | calls_kept("__init__") == {other._actor_id.binary()}
        assert (
            Path(f"/proc/{await begin(ours, Actor.pid)}/cmdline")
            .read_text()
            .startswith("ray::coordinator")
        )
        assert port.has("coordinator")
        port.kill("coordinator")
        await until(lambda: not port.has("coordinator"), within_s=30)
    finally:
        ray.shutdown()


def test_a_ray_of_our_own_reports_no_calls_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those of the process that starts the system."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(ray_start.ray, "init", lambda **options: given.update(options))
    ray_start.start_ray(RaySettings(), show_logs=False)
    assert given["_system_config"]["task_events_report_interval_ms"] == 0


def calls_kept(method: str) -> set[bytes]:
    """The actors of which Ray's control store keeps calls of that method."""
    kept = (event.task_info for event in state._get_all_task_events())
    return {task.actor_id for task in kept if task.func_or_class_name.endswith(method)}
