"""However a start or a stop fails, what it had started is ended: actors, Ray and the broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RaySystemError

from actors.errors import ConfigError, ShardUnavailable
from cluster.broker.broker import Broker
from cluster.broker.free_port import free_port
from cluster.lifecycle import system
from cluster.lifecycle.system import System
from cluster.settings.config import Settings
from cluster.settings.serving import ServingSettings
from cluster.settings.storage import StateSettings
from cluster.wiring import start
from cluster.wiring.real import real
from model.config import ModelConfig
from model.network.export import random_bundle


class FakeRay:
    """Named actors, and what was done to them, in order."""

    def __init__(self, *names: str) -> None:
        self.named = set(names)
        self.listed = set(names)
        self.fails: dict[str, Exception] = {}  # by actor or by call
        self.done: list[str] = []
        self.util = SimpleNamespace(list_named_actors=self._list)

    def actor(self, name: str) -> Any:
        """A handle, whose `stop` and `pid` are called."""
        return SimpleNamespace(name=name, call=SimpleNamespace(remote=self._call(name)))

    def get_actor(self, name: str, *_: str) -> Any:
        """As Ray does for an unknown name."""
        if name not in self.named:
            raise ValueError(f"Failed to look up actor with name {name!r}")
        return self.actor(name)

    def get(self, answer: Callable[[], Any], timeout: float) -> Any:
        """What the call gives."""
        del timeout
        return answer()

    def kill(self, actor: Any, *, no_restart: bool) -> None:
        """For good."""
        assert no_restart
        self.done.append(f"kill {actor.name}")

    def shutdown(self) -> None:
        """All of it."""
        self.done.append("shutdown")

    def _list(self) -> list[str]:
        if error := self.fails.get("list"):
            raise error
        return sorted(self.listed)

    def _call(self, name: str) -> Callable[..., Callable[[], Any]]:
        def remote(qualified: str, *_: Any) -> Callable[[], Any]:
            kind, _, method = qualified.partition(".")
            assert method == "pid" or kind.lower().removesuffix("process") in name

            def answer() -> str:
                if error := self.fails.get(name):
                    raise error
                self.done.append(f"{method} {name}")
                return name

            return answer

        return remote


class FakeBroker(Broker):
    """An embedded broker that says when it is stopped."""

    def stop(self) -> None:
        """Once more does no harm."""
        STOPPED.append("broker")


STOPPED: list[str] = []
FIXED = ("coordinator", "ingest-0", "archive", "gateway")


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Of a system of two shards."""
    STOPPED.clear()
    fake = FakeRay(*FIXED, "shard-0", "shard-1")
    monkeypatch.setattr(system, "ray", fake)
    return fake


def running(ray: FakeRay, state: Path) -> System:
    """What the starter holds."""
    settings = Settings(
        state=StateSettings(directory=str(state)), serving=ServingSettings(shards=2)
    )
    actors = {name: ray.actor(name) for name in (*FIXED, "shard-0", "shard-1")}
    return System(settings, FakeBroker("127.0.0.1:1", "embedded"), actors, ephemeral_state=True)


KILLS = [f"kill {name}" for name in (*FIXED, "shard-0", "shard-1")]


def test_a_stop_is_gentle_and_complete(ray: FakeRay, tmp_path: Path) -> None:
    """The gateway first, then the readers, then the shards; then nothing is left."""
    up = running(ray, tmp_path / "state")
    up.stop()
    stops = ["stop gateway", "stop ingest-0", "stop archive", "stop shard-0", "stop shard-1"]
    assert ray.done == [*stops, *KILLS, "shutdown"]
    assert STOPPED == ["broker"]
    with pytest.raises(ShardUnavailable, match="has been stopped"):
        up.check_alive()


def test_a_shard_that_goes_away_meanwhile_does_not_end_the_stop(
    ray: FakeRay, tmp_path: Path
) -> None:
    """Ray lists a name that it does not know any more: the others are stopped, and all is ended."""
    ray.named.discard("shard-0")
    running(ray, tmp_path / "state").stop()
    assert "stop shard-1" in ray.done
    assert ray.done[-2:] == ["kill shard-1", "shutdown"]
    assert STOPPED == ["broker"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RaySystemError("gone"), RuntimeError("a defect")]
)
def test_whatever_fails_or_interrupts_a_stop_all_is_ended(
    ray: FakeRay, tmp_path: Path, error: Exception
) -> None:
    """A second Ctrl-C, a Ray that does not answer:
    the broker and the directories of the run go all the same.
    """
    state = tmp_path / "state"
    state.mkdir()
    ray.fails["gateway"] = error
    ray.fails["list"] = error
    with pytest.raises(type(error)):
        running(ray, state).stop()
    assert ray.done[-1] == "shutdown"
    assert STOPPED == ["broker"]
    assert not state.exists()


def test_an_actor_that_died_for_good_is_named(ray: FakeRay, tmp_path: Path) -> None:
    """Shards come and go, the last of them does not; a Ray that says nothing is no dead actor."""
    up = running(ray, tmp_path)
    ray.listed.discard("shard-1")
    up.check_alive()
    ray.fails["list"] = RaySystemError("busy")
    up.check_alive()
    del ray.fails["list"]
    for name in ("shard-0", "archive"):
        ray.listed.discard(name)
        ray.fails[name] = RaySystemError("its constructor failed")
        with pytest.raises(
            ShardUnavailable, match=rf"{name} has ended for good: .*its constructor failed"
        ):
            up.check_alive()


def test_a_start_that_finds_another_system_leaves_that_alone(
    ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its names are taken, so this start ends: with its broker,
    its connection to Ray, and nobody else's shards.
    """

    def taken(*_: Any) -> Any:
        raise ConfigError("namespace has an actor 'coordinator' already")

    class FakeAdmin:
        def __init__(self, _: Any) -> None:
            pass

        def __enter__(self) -> Any:
            return SimpleNamespace(cluster_id=lambda: "log", topic_id=lambda _: "id")

        def __exit__(self, *_: object) -> None:
            pass

    for name, value in {
        "ray": ray,
        "ensure_topics": lambda *_: None,
        "start_ray": lambda *_, **__: None,
        "resolve": lambda **_: FakeBroker("127.0.0.1:1", "embedded"),
    }.items():
        monkeypatch.setattr(start, name, value)
    settings = Settings(
        state=StateSettings(directory=str(tmp_path)), serving=ServingSettings(port=free_port())
    )
    settings = settings.model_copy(
        update={"monitoring": settings.monitoring.model_copy(update={"port": free_port()})}
    )
    with pytest.raises(ConfigError, match="already"):
        start.start_system(
            settings,
            load=lambda _: random_bundle(ModelConfig(), ("a", "b")),
            environ={},
            make_world=lambda settings: replace(
                real(settings),
                ray=SimpleNamespace(create=taken),
                kafka=SimpleNamespace(admin=FakeAdmin),
            ),
        )
    assert ray.done == ["shutdown"]
    assert STOPPED == ["broker"]
